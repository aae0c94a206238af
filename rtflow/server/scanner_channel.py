"""The scanner's host, as the server knows it."""

from __future__ import annotations

from rtflow.server.channel import Channel


class ScannerChannel(Channel):
    """Objects, or volumes, of a scanner; and its host's files."""

    kind = "scanner"
    size_limit = 1 << 28  # a whole run may be one object
