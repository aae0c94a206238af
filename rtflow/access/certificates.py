"""Certificates without anybody's help: an authority of one's own, and what it signs.

::

    FOLDER/authority.pem, authority.key     what all trust, and what signs; the key never leaves the folder
    FOLDER/server.pem, server.key           certificate of the server, followed by the authority's

They keep to RFC 5280 as Python checks it with ``VERIFY_X509_STRICT``.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtflow.access.private import private_folder, read_private, write_private
from rtflow.access.store import Role, require_name, require_role
from rtflow.errors import AccessError, UsageError

if TYPE_CHECKING:
    from cryptography import x509

    from rtflow.access.signing import Key

AUTHORITY, SERVER = "authority", "server"
#: Where the key of a client waits for its certificate.
REQUEST_KEY = "request.key"
_SOON = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """What a certificate says.

    Parameters
    ----------
    file
        Its file.
    names
        What it is for: names and addresses of a server, else the name of the authority.
    expires
        Until when it is good, in UTC.
    fingerprint
        SHA-256 of it, in hexadecimal.
    """

    file: Path
    names: tuple[str, ...]
    expires: datetime.datetime
    fingerprint: str

    def warning(self, now: datetime.datetime) -> str:
        """What to do about it, if it has expired or will within 30 days; else empty."""
        if now < self.expires - _SOON:
            return ""
        when = "expires" if now < self.expires else "has expired"
        remedy = "'rtflow certs make' makes another"
        if self.file.stem == AUTHORITY:
            remedy = f"move {self.file.parent} away, make all anew, and enrol the agents again"
        return f"{self.file.name} {when} on {self.expires:%Y-%m-%d}; {remedy}"


def make_authority(folder: Path) -> str:
    """Make the authority, unless there is one; gives its fingerprint.

    Raises
    ------
    OutputError
        If it cannot be written.
    UsageError
        If one of its files is there without the other, or others may read its key.
    """
    from rtflow.access import signing

    private_folder(folder)
    certificate, key_file = folder / f"{AUTHORITY}.pem", folder / f"{AUTHORITY}.key"
    if not certificate.exists() and not key_file.exists():
        key = signing.new_key()
        # Two authorities of the same name would be taken for one another.
        made = signing.authority_certificate(key, f"rtflow authority {os.urandom(4).hex()}")
        write_private(key_file, signing.key_pem(key))
        write_private(certificate, signing.pem(made))
    return fingerprint(signing.pem(_authority(folder)[0]))


def make_server_certificate(folder: Path, names: Sequence[str]) -> None:
    """Make a key and a certificate for a server; earlier ones are replaced.

    Parameters
    ----------
    folder
        Where the authority is.
    names
        Host names and addresses by which the server is reached.

    Raises
    ------
    UsageError
        If there is no authority, or a name is none.
    OutputError
        If they cannot be written.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    from rtflow.access import signing

    alternatives = list(dict.fromkeys(signing.host(name) for name in names))
    if not alternatives:
        raise UsageError("a server's certificate needs a name; give the one by which others reach it")
    authority, authority_key = _authority(folder)
    key = signing.new_key()
    # Clients look at the names below, never at the subject, which people are shown.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rtflow server")])
    made = signing.leaf_certificate(
        authority, authority_key, key.public_key(), signing.SERVER, subject, alternatives
    )
    write_private(folder / f"{SERVER}.key", signing.key_pem(key))
    write_private(folder / f"{SERVER}.pem", signing.pem(made) + signing.pem(authority))


def make_request(folder: Path, name: str) -> str:
    """Make a key that stays in the folder (`REQUEST_KEY`), and a request for its certificate, as PEM.

    Raises
    ------
    UsageError
        If the name is none.
    OutputError
        If the key cannot be written.
    """
    from rtflow.access import signing

    key = signing.new_key()
    made = signing.request(key, require_name(name))
    write_private(private_folder(folder) / REQUEST_KEY, signing.key_pem(key))
    return made.decode()


def sign_request(folder: Path, request: str, name: str, role: str) -> str:
    """Certificate of a client, by the authority of a folder, as PEM.

    Nothing of the request is taken but the public key: who it is, the operator said.

    Raises
    ------
    AccessError
        If it is no request, is not signed with its own key, or has a key that is weak.
    UsageError
        If there is no authority, or name or role is none.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    from rtflow.access import signing

    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, require_role(role)),
            x509.NameAttribute(NameOID.COMMON_NAME, require_name(name)),
        ]
    )
    authority, authority_key = _authority(folder)
    made = signing.leaf_certificate(
        authority, authority_key, signing.requested_key(request), signing.CLIENT, subject, []
    )
    return signing.pem(made).decode()


def owner(certificate: bytes) -> tuple[str, Role]:
    """Name and role in a client's certificate (DER), such as ``SSLObject.getpeercert(True)`` gives.

    TLS has proved that the authority signed it and that the peer has the key; whether the token of that name
    was revoked since, only `Access` knows: a certificate comes in addition to a token, not in its place.

    Raises
    ------
    AccessError
        If it is not a client's.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        subject = x509.load_der_x509_certificate(certificate).subject
        (unit,) = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return require_name(str(name.value)), require_role(str(unit.value))
    except (ValueError, UsageError):
        raise AccessError("the certificate is not that of a client; enrol again", "certificate") from None


def authority_pem(folder: Path) -> str:
    """The authority's certificate, which anybody may have.

    Raises
    ------
    UsageError
        If there is none.
    """
    path = folder / f"{AUTHORITY}.pem"
    content = _content(path)
    if content is None:
        raise UsageError(f"{path} does not exist; 'rtflow certs make' makes it")
    return content.decode("ascii", "replace")


def certificates(folder: Path) -> list[Certificate]:
    """The certificates of a folder, the authority first; raises `UsageError` if one is damaged."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    found = []
    for path in (folder / f"{AUTHORITY}.pem", folder / f"{SERVER}.pem"):
        content = _content(path)
        if content is None:
            continue
        one = _load_certificate(content, path)
        try:
            names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            told = tuple(str(name.value) for name in names)
        except x509.ExtensionNotFound:
            told = tuple(str(name.value) for name in one.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        found.append(Certificate(path, told, one.not_valid_after_utc, fingerprint(content)))
    return found


def server_context(folder: Path, *, client_certificates: bool) -> ssl.SSLContext:
    """TLS of the server: 1.2 or newer; with `client_certificates`, whoever has none of ours is turned away.

    Raises
    ------
    UsageError
        If there is no certificate, or others may read its key.
    """
    certificate, key = folder / f"{SERVER}.pem", folder / f"{SERVER}.key"
    if read_private(key) is None or not certificate.is_file():
        raise UsageError(f"{folder} has no certificate of a server; 'rtflow certs make' makes one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _load(context, certificate, key)
    if client_certificates:
        context.load_verify_locations(cadata=authority_pem(folder))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: str, certificate: Path | None = None) -> ssl.SSLContext:
    """TLS of a client that trusts one authority and nobody else, and shows its own certificate if it has one.

    Parameters
    ----------
    authority
        Certificate of the authority, as PEM.
    certificate
        File with the client's own, and its key.

    Raises
    ------
    UsageError
        If one of them is none, or others may read the key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError):
        raise UsageError("the authority's certificate is damaged; enrol again") from None
    if certificate is not None:
        if read_private(certificate) is None:
            raise UsageError(f"{certificate} does not exist; enrol again")
        _load(context, certificate, certificate)
    return context


def fingerprint(certificate: str | bytes) -> str:
    """SHA-256 of the (first) certificate of a PEM, in hexadecimal, as browsers and openssl tell it.

    Raises
    ------
    UsageError
        If it is none.
    """
    text = certificate.decode("ascii", "replace") if isinstance(certificate, bytes) else certificate
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    inside = text.partition(begin)[2].partition(end)[0]
    try:
        der = ssl.PEM_cert_to_DER_cert(begin + inside + end + "\n")
    except ValueError:
        der = b""
    if not der:
        raise UsageError("expected a certificate in PEM, got something else")
    return hashlib.sha256(der).hexdigest()


def _authority(folder: Path) -> tuple[x509.Certificate, Key]:
    from rtflow.access import signing

    certificate, key_file = folder / f"{AUTHORITY}.pem", folder / f"{AUTHORITY}.key"
    pem, key = _content(certificate), read_private(key_file)
    if pem is None and key is None:
        raise UsageError(f"{folder} has no authority; 'rtflow certs make' makes one")
    if pem is None or key is None:
        raise UsageError(
            f"{certificate if pem is None else key_file} is missing beside the other file of the authority; "
            f"restore it from a copy, or move {folder} away, and make all anew"
        )
    return _load_certificate(pem, certificate), signing.load_key(key, str(key_file))


def _content(path: Path) -> bytes | None:
    """A certificate is no secret: others may read it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None


def _load_certificate(content: bytes, path: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError:
        raise UsageError(f"{path} holds no certificate; restore it from a copy, or make all anew") from None


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise UsageError(f"{certificate} and {key.name} cannot be used ({error}); make them anew") from None
