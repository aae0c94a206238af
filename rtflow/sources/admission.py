"""Who may send: by the titles that a peer calls and calls itself, and by its address."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from rtflow.errors import SourceError

# Result, source and reason of a rejection (PS3.8 9.3.4): permanent, by the service user, ...
_NO_REASON, _WRONG_CALLING, _WRONG_CALLED = (1, 1, 1), (1, 1, 3), (1, 1, 7)


@dataclass(frozen=True)
class Refusal:
    """Why an association is rejected, in words and in the numbers that the peer is told."""

    why: str
    code: tuple[int, int, int] = _NO_REASON


class Admission:
    """Whom a receiver accepts.

    Titles are no secret and addresses can be forged: this keeps mistakes out, not attackers.

    Parameters
    ----------
    title
        AE title that a peer must call. One that calls another was configured for another receiver, and is
        told so when its operator tries the connection, not when objects are missing.
    calling
        Titles that may call; empty for any.
    peers
        Addresses or networks that may call; empty for any.

    Raises
    ------
    SourceError
        If a title or an address cannot be one.
    """

    def __init__(self, title: str, calling: Sequence[str], peers: Sequence[str]) -> None:
        self.title = _title(title)
        self._calling = frozenset(_title(one) for one in calling)
        self._peers = tuple(_network(peer) for peer in peers)

    def refusal(self, called: str, calling: str, address: str) -> Refusal | None:
        """Why an association is to be rejected, None if it is welcome.

        Raises
        ------
        ValueError
            If the address is none.

        Examples
        --------
        >>> admission = Admission("RTFLOW", ["SCANNER"], ["10.1.0.0/16"])
        >>> admission.refusal("RTFLOW", "SCANNER", "10.1.2.3")
        >>> admission.refusal("RTFLOW", "SCANNER", "10.2.0.1").why
        'its address is not among those allowed'
        """
        if self._peers and not any(_address(address) in network for network in self._peers):
            return Refusal("its address is not among those allowed")
        if self._calling and calling not in self._calling:
            titles = ", ".join(sorted(self._calling))
            return Refusal(f"its title is not among those allowed: {titles}", _WRONG_CALLING)
        if called != self.title:
            return Refusal(f"it called {called!r}, and this is {self.title!r}", _WRONG_CALLED)
        return None


def _title(text: str) -> str:
    title = text.strip()
    if not 0 < len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise SourceError(f"{text!r} cannot be an AE title; give 1 to 16 ASCII characters, no backslash")
    return title


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SourceError(
            f"{text!r} is neither an address nor a network; write one like 10.1.2.3 or 10.1.0.0/16"
        ) from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
