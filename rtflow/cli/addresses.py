"""Addresses as a user types and reads them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from rtflow.errors import UsageError

EVERYWHERE = ("0.0.0.0", "::", "")
"""Hosts that stand for all addresses of this machine."""

_LARGEST_PORT = 65535


def parse_address(text: str, option: str = "--listen") -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, as an option has it; an IPv6 address stands in brackets.

    >>> parse_address("[::1]:8443"), parse_address("0.0.0.0:0")
    (('::1', 8443), ('0.0.0.0', 0))

    Raises
    ------
    UsageError
        If it is something else.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else -1
    if not colon or not host or not 0 <= number <= _LARGEST_PORT or (":" in host and not bracketed):
        raise UsageError(f"{option} {text}: expected HOST:PORT, such as 0.0.0.0:8443 or 127.0.0.1:8443")
    return host[1:-1] if bracketed else host, number


def reached_host(host: str, names: Sequence[str]) -> str:
    """How others call a host: one that listens everywhere by the first name that it is known by.

    >>> reached_host("0.0.0.0", ("localhost", "console.lan")), reached_host("::1", ())
    ('console.lan', '[::1]')
    """
    if host in EVERYWHERE:
        others = [name for name in names if name not in ("localhost", "127.0.0.1", "::1")]
        host = others[0] if others else socket.gethostname()
    return f"[{host}]" if ":" in host else host
