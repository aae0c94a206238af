"""The subject's host, as the server knows it."""

from __future__ import annotations

from rtflow.server.channel import Channel


class SubjectChannel(Channel):
    """Values for the participant's display, and what comes back."""

    kind = "subject"
