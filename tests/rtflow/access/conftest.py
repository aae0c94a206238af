"""Accounts in an empty folder, with hashes that cost next to nothing, and a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from rtflow.access.store import Access

#: Real argon2id, as cheap as it can be made: for tests that are not about its cost.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "four words are long"


class Clock:
    """Seconds since 1970 that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "access"


@pytest.fixture
def opened(folder: Path, clock: Clock) -> Callable[[], Access]:
    """Open the accounts, as each process does for itself."""
    return lambda: Access(folder, hasher=CHEAP, clock=clock)


@pytest.fixture
def access(opened: Callable[[], Access]) -> Access:
    return opened()
