"""How often something may be tried.

Whoever guesses from one address is slowed there, and nowhere else: a bucket belongs to an address, or to a
name as tried from an address, never to a name alone. Else anybody could lock the operator out.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Hashable


class Throttle:
    """Buckets of tries, one for each key, that fill up again with time.

    Parameters
    ----------
    burst
        How many tries a full bucket has.
    seconds
        Time in which one comes back.
    clock
        Seconds of a clock that does not jump.
    most
        How many buckets that are not full are remembered; beyond that, the fullest are forgotten.
    """

    def __init__(
        self,
        burst: int,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        most: int = 10_000,
    ) -> None:
        self._slack = (burst - 1) * seconds
        self._seconds = seconds
        self._clock = clock
        self._most = most
        self._full_at: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> float:
        """Take a try out of a bucket: 0 if there was one, else none is taken: seconds until there is."""
        with self._lock:
            now = self._clock()
            full_at = max(now, self._full_at.get(key, now))
            wait = full_at - now - self._slack
            if wait > 0:
                return wait
            if key not in self._full_at and len(self._full_at) >= self._most:
                self._make_room(now)
            self._full_at[key] = full_at + self._seconds
            return 0.0

    def give_back(self, key: Hashable) -> None:
        """Put one try back: it was none."""
        with self._lock:
            if key in self._full_at:
                self._full_at[key] -= self._seconds

    def forget(self, key: Hashable) -> None:
        """Fill the bucket."""
        with self._lock:
            self._full_at.pop(key, None)

    def _make_room(self, now: float) -> None:
        emptiest = sorted(self._full_at.items(), key=lambda item: item[1], reverse=True)[: self._most // 2]
        self._full_at = {key: full_at for key, full_at in emptiest if full_at > now}


def network_of(address: str) -> str:
    """What one person holds of the network: an IPv4 address, or the 64 bits that an IPv6 address begins with.

    >>> network_of("10.0.0.7"), network_of("::ffff:10.0.0.7"), network_of("fe80::1%eth0")
    ('10.0.0.7', '10.0.0.7', 'fe80::/64')
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
