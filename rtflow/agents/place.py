"""Where an agent connects to, and as whom: from what its command was given."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from rtflow.agents.connecting import Place
from rtflow.errors import UsageError


def find_place(
    server: str,
    kind: str,
    name: str,
    instance: str,
    *,
    token_file: Path | None = None,
    credentials: Path | None = None,
) -> Place:
    """The place of an agent.

    Parameters
    ----------
    server
        ``wss://HOST:PORT``; ``ws://`` on this machine only, since what goes over it can be read.
    kind, name, instance
        As `Place` has them.
    token_file
        File that holds the token and nothing else; needed for ``ws://`` only, and for a server whose
        certificate the system knows.
    credentials
        Folder of what ``rtflow enrol`` left; default ``agents`` in rtflow's folder of the user's settings.

    Raises
    ------
    UsageError
        If the address is none, or a file cannot be read.
    """
    split = urlsplit(server)
    try:
        port = split.port
    except ValueError:
        port = None
    if split.scheme not in ("ws", "wss") or not split.hostname or port is None or split.path.strip("/"):
        raise UsageError(
            f"{server[:100]!r} is no address of a server; expected such as wss://console.lan:8443"
        )
    plain = split.scheme == "ws"
    if plain and not _is_loopback(split.hostname):
        raise UsageError(f"{server}: without TLS only a server on this machine can be used; write wss://")
    if token_file is not None:
        tls = None if plain else ssl.create_default_context()
        return Place(server, kind, name, instance, _token(token_file), tls)
    if plain:
        return Place(server, kind, name, instance, "")
    from rtflow.access.certificates import client_context
    from rtflow.access.enrolment import load_credentials
    from rtflow.agents.enrolling import https_address, kept_credentials

    known = load_credentials(kept_credentials(kind, credentials), https_address(server))
    tls = client_context(known.authority, known.certificate)
    return Place(server, kind, name, instance, known.token, tls)


def _token(file: Path) -> str:
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the token {file} cannot be read ({error})") from None
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
