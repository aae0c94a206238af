"""Certificates, by real handshakes: who trusts whom, and who does not."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from rtflow.access import signing
from rtflow.access.certificates import (
    REQUEST_KEY,
    authority_pem,
    certificates,
    client_context,
    fingerprint,
    make_authority,
    make_request,
    make_server_certificate,
    owner,
    server_context,
    sign_request,
)
from rtflow.errors import AccessError, UsageError

NAMES = ["console.lan", "localhost", "127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an authority and a server's certificate."""
    folder = tmp_path_factory.mktemp("made") / "certificates"
    make_authority(folder)
    make_server_certificate(folder, NAMES)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of somebody else."""
    folder = tmp_path_factory.mktemp("others") / "certificates"
    make_authority(folder)
    make_server_certificate(folder, NAMES)
    return folder


def client_of(authority: Path, agent: Path) -> Path:
    """File with a certificate and its key that an authority gave to an agent."""
    request = make_request(agent, "asked")
    certificate = sign_request(authority, request, "scanner-1", "scanner")
    path = agent / "client.pem"
    path.write_bytes(certificate.encode() + (agent / REQUEST_KEY).read_bytes())
    path.chmod(0o600)
    return path


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[str, bytes | None]:
    """Version of TLS, and certificate of the client as the server saw it, after a word each way."""
    seen: list[bytes | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(writer.get_extra_info("ssl_object").getpeercert(True))
            writer.write(await reader.readline())
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def talk() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server) as listening:
            port = listening.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname=name
            )
            try:
                version: str = writer.get_extra_info("ssl_object").version()
                writer.write(b"hello\n")
                if await reader.readline() != b"hello\n":
                    raise ConnectionResetError("the server hung up")
                return version
            finally:
                writer.transport.abort()

    return asyncio.run(talk()), seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_client_trusts_the_server_under_each_of_its_names(made: Path, name: str) -> None:
    version, shown = shake_hands(
        server_context(made, client_certificates=False), client_context(authority_pem(made)), name
    )
    assert version == "TLSv1.3"
    assert shown is None


def test_tls_below_1_2_is_not_spoken(made: Path) -> None:
    for context in (server_context(made, client_certificates=True), client_context(authority_pem(made))):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
    client = client_context(authority_pem(made))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake_hands(server_context(made, client_certificates=False), client, "localhost")[0] == "TLSv1.2"


@pytest.mark.parametrize("name", ["other.lan", "console.lan.evil.example", "127.0.0.2", "lan"])
def test_a_server_of_another_name_is_not_trusted(made: Path, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(
            server_context(made, client_certificates=False), client_context(authority_pem(made)), name
        )


def test_a_server_of_another_authority_is_not_trusted(made: Path, others: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(
            server_context(others, client_certificates=False),
            client_context(authority_pem(made)),
            "localhost",
        )


def test_a_client_shows_its_certificate(made: Path, tmp_path: Path) -> None:
    client = client_context(authority_pem(made), client_of(made, tmp_path))
    _, shown = shake_hands(server_context(made, client_certificates=True), client, "localhost")
    assert shown is not None
    assert owner(shown) == ("scanner-1", "scanner")


def test_a_client_without_a_certificate_of_ours_is_turned_away(
    made: Path, others: Path, tmp_path: Path
) -> None:
    server = server_context(made, client_certificates=True)
    with pytest.raises(OSError, match=r"certificate required|reset|hung up"):
        shake_hands(server, client_context(authority_pem(made)), "localhost")
    foreign = client_context(authority_pem(made), client_of(others, tmp_path))
    with pytest.raises(OSError, match=r"unknown ca|reset|hung up"):
        shake_hands(server, foreign, "localhost")


def test_a_server_is_no_client_and_a_client_no_server(made: Path, tmp_path: Path) -> None:
    both = tmp_path / "server-as-client.pem"
    both.write_bytes((made / "server.pem").read_bytes() + (made / "server.key").read_bytes())
    both.chmod(0o600)
    with pytest.raises(OSError, match=r"unsupported certificate|reset|hung up"):
        shake_hands(
            server_context(made, client_certificates=True),
            client_context(authority_pem(made), both),
            "localhost",
        )
    client = client_of(made, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(client)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unsuitable certificate purpose|mismatch"):
        shake_hands(context, client_context(authority_pem(made)), "localhost")


def test_openssl_finds_nothing_to_complain_about(made: Path, tmp_path: Path) -> None:
    """The handshakes above are judged by the library; where the program is there, it must agree."""
    agent = client_of(made, tmp_path)
    certificates(made)
    if (openssl := shutil.which("openssl")) is None:
        return
    options = ("-x509_strict", "-check_ss_sig", "-CAfile", str(made / "authority.pem"))
    for purpose, path in (("sslserver", made / "server.pem"), ("sslclient", agent)):
        done = subprocess.run(
            [openssl, "verify", *options, "-purpose", purpose, str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
    told = subprocess.run(
        [openssl, "x509", "-noout", "-fingerprint", "-sha256", "-in", str(made / "authority.pem")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip().rpartition("=")[2].replace(":", "").lower() == fingerprint(authority_pem(made))


def test_extensions_are_those_of_rfc_5280(made: Path, tmp_path: Path) -> None:
    authority = x509.load_pem_x509_certificate((made / "authority.pem").read_bytes())
    server = x509.load_pem_x509_certificate((made / "server.pem").read_bytes())
    client = x509.load_pem_x509_certificate(client_of(made, tmp_path).read_bytes())
    key_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for leaf in (server, client):
        leaf.verify_directly_issued_by(authority)
        found = leaf.extensions
        assert found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == key_id
        assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not found.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days <= 825
        assert leaf.not_valid_before_utc < datetime.datetime.now(datetime.UTC)
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 0)


def test_keys_are_the_owners_alone_and_stay(made: Path, tmp_path: Path) -> None:
    request = make_request(tmp_path / "agent", "scanner-1")
    for path in (made / "authority.key", made / "server.key", tmp_path / "agent" / REQUEST_KEY):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"PRIVATE KEY" in path.read_bytes()
    assert "PRIVATE KEY" not in request + sign_request(made, request, "scanner-1", "scanner")


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    make_authority(tmp_path)
    make_server_certificate(tmp_path, NAMES)
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        server_context(tmp_path, client_certificates=False)
    (tmp_path / "authority.key").chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        make_server_certificate(tmp_path, NAMES)
    (tmp_path / "authority.pem").chmod(0o644)  # which is no secret
    assert authority_pem(tmp_path).startswith("-----BEGIN CERTIFICATE")


def test_the_authority_stays_when_the_server_gets_another_certificate(tmp_path: Path) -> None:
    first = make_authority(tmp_path)
    make_server_certificate(tmp_path, ["console.lan"])
    assert make_authority(tmp_path) == first == fingerprint(authority_pem(tmp_path))
    make_server_certificate(tmp_path, ["Other.LAN", "other.lan", "fd00::5"])
    authority, server = certificates(tmp_path)
    assert (authority.fingerprint, server.names) == (first, ("other.lan", "fd00::5"))
    shake_hands(
        server_context(tmp_path, client_certificates=False),
        client_context(authority_pem(tmp_path)),
        "other.lan",
    )


@pytest.mark.parametrize("missing", ["authority.key", "authority.pem"])
def test_half_an_authority_is_not_replaced(tmp_path: Path, missing: str) -> None:
    make_authority(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UsageError, match=f"{missing} is missing"):
        make_authority(tmp_path)
    assert not (tmp_path / missing).exists()


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    for call in (
        lambda: server_context(tmp_path, client_certificates=False),
        lambda: authority_pem(tmp_path),
        lambda: make_server_certificate(tmp_path, NAMES),
    ):
        with pytest.raises(UsageError, match="'rtflow certs make'"):
            call()
    make_authority(tmp_path)
    with pytest.raises(UsageError, match="needs a name"):
        make_server_certificate(tmp_path, [])
    (tmp_path / "authority.key").write_bytes(
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    )
    with pytest.raises(UsageError, match="holds no key"):
        make_server_certificate(tmp_path, NAMES)
    (tmp_path / "authority.pem").write_bytes(b"no certificate")
    with pytest.raises(UsageError, match="holds no certificate"):
        certificates(tmp_path)
    for text in ("", "no certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"):
        with pytest.raises(UsageError):
            client_context(text)
        with pytest.raises(UsageError, match="expected a certificate"):
            fingerprint(text)


@pytest.mark.parametrize(
    "name", ["", "a b", "*.lan", "-x", "x" * 64, "a..b", "console.lan/x", "x\n", "é.lan", "a." * 200]
)
def test_a_name_that_is_none(made: Path, name: str) -> None:
    before = (made / "server.pem").read_bytes()
    with pytest.raises(UsageError, match="no host name or address"):
        make_server_certificate(made, ["console.lan", name])
    assert (made / "server.pem").read_bytes() == before


def test_what_expires_soon_is_told(made: Path) -> None:
    authority, server = certificates(made)
    for one, remedy in ((authority, "enrol the agents again"), (server, "'rtflow certs make'")):
        assert one.warning(one.expires - datetime.timedelta(days=31)) == ""
        assert "expires on" in one.warning(one.expires - datetime.timedelta(days=29))
        assert "has expired" in one.warning(one.expires)
        assert remedy in one.warning(one.expires)


# Requests


def request_by(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, *more: x509.ExtensionType
) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in more:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def test_nothing_of_a_request_is_believed_but_its_key(made: Path) -> None:
    key = signing.new_key()
    wanted = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("console.lan")]),
    )
    signed = sign_request(made, request_by(key, *wanted), "scanner-1", "scanner")
    got = x509.load_pem_x509_certificate(signed.encode())
    assert owner(got.public_bytes(Encoding.DER)) == ("scanner-1", "scanner")
    assert not got.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        got.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert got.public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["P-384", "Ed25519"],
)
def test_keys_that_are_strong_are_signed(made: Path, key: ec.EllipticCurvePrivateKey) -> None:
    assert "CERTIFICATE" in sign_request(made, request_by(key), "scanner-1", "scanner")


def test_keys_that_are_weak_are_not_signed(made: Path) -> None:
    for key in (rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP224R1())):
        with pytest.raises(AccessError, match="expected a key"):
            sign_request(made, request_by(key), "scanner-1", "scanner")


def test_a_request_that_others_signed_or_that_is_long_is_refused(made: Path) -> None:
    der = bytearray(x509.load_pem_x509_csr(request_by(signing.new_key()).encode()).public_bytes(Encoding.DER))
    at = der.index(b"operator")
    der[at : at + 8] = b"OPERATOR"
    forged = ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    with pytest.raises(AccessError, match="not signed with the key"):
        sign_request(made, forged, "scanner-1", "scanner")
    with pytest.raises(AccessError, match="at most 8192"):
        sign_request(made, request_by(signing.new_key()) + "\n" * 9000, "scanner-1", "scanner")


@given(st.text(max_size=200))
def test_no_text_is_a_request(made: Path, text: str) -> None:
    for one in (text, f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"):
        with pytest.raises(AccessError):
            sign_request(made, one, "scanner-1", "scanner")


def test_a_certificate_that_is_no_clients_has_no_owner(made: Path) -> None:
    server = x509.load_pem_x509_certificate((made / "server.pem").read_bytes())
    for der in (server.public_bytes(Encoding.DER), b"", b"nothing"):
        with pytest.raises(AccessError, match="not that of a client"):
            owner(der)
