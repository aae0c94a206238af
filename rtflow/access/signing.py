"""How a certificate is put together: keys, extensions, and what of a request is believed."""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rtflow.errors import AccessError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

Key = ec.EllipticCurvePrivateKey

AUTHORITY_DAYS = 3650
#: Apple's systems take no certificate of a server that is good for longer.
LEAF_DAYS = 825
#: Longest request for a certificate that is looked at, in characters.
LONGEST_REQUEST = 8192

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH

# Clocks of two machines differ.
_BACKDATED = datetime.timedelta(hours=1)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


def new_key() -> Key:
    """A key on the curve P-256, which every browser and operating system in use knows."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """The key as PEM, without a password: the file is private, and a server must start by itself."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def load_key(content: bytes, where: str) -> Key:
    """A key from PEM.

    Raises
    ------
    UsageError
        If it is none of ours.
    """
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(f"{where} holds no key that rtflow made; restore it from a copy, or make all anew")
    return key


def authority_certificate(key: Key, name: str) -> x509.Certificate:
    """Certificate of an authority that signs leaves and no other authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _beginning(subject, subject, key.public_key(), key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def leaf_certificate(
    authority: x509.Certificate,
    authority_key: Key,
    key: CertificatePublicKeyTypes,
    purpose: x509.ObjectIdentifier,
    subject: x509.Name,
    names: list[x509.GeneralName],
) -> x509.Certificate:
    """Certificate of a server or a client; `names` are those that a server is reached by."""
    builder = (
        _beginning(subject, authority.subject, key, authority_key, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def request(key: Key, name: str) -> bytes:
    """Request for a certificate, as PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def requested_key(text: str) -> CertificatePublicKeyTypes:
    """The public key of a request, the only thing in it that counts.

    Raises
    ------
    AccessError
        If it is no request, is not signed with its own key, or has a key that is weak.
    """
    problem = "expected a request for a certificate in PEM (PKCS 10), got something else"
    try:
        asked = x509.load_pem_x509_csr(text[: LONGEST_REQUEST + 1].encode("ascii"))
        key = asked.public_key()
        signed = asked.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, UnicodeEncodeError):
        raise AccessError(problem, "request") from None
    if len(text) > LONGEST_REQUEST:
        raise AccessError(f"a request has at most {LONGEST_REQUEST} characters", "request")
    if not signed:
        raise AccessError("the request is not signed with the key that it is for", "request")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096
    ):
        return key
    raise AccessError("expected a key of P-256, P-384, Ed25519 or RSA with 2048 to 4096 bits", "request")


def host(name: str) -> x509.GeneralName:
    """A host name or an address, as certificates have it.

    Raises
    ------
    UsageError
        If it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST.fullmatch(name.lower()):
        raise UsageError(
            f"{name[:64]!r} is no host name or address; expected such as console.lan, 10.0.0.5 or fd00::5"
        )
    return x509.DNSName(name.lower())


def _beginning(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    issuer_key: Key,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now - _BACKDATED + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(issuer_id, critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
