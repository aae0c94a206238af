"""Buckets of tries, and how many passwords are checked at the same time."""

from __future__ import annotations

import queue
import threading

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from rtflow.access.passwords import Passwords
from rtflow.access.throttle import Throttle, network_of
from rtflow.errors import AccessError


def test_a_bucket_empties_and_fills_again(clock) -> None:
    throttle = Throttle(3, 10.0, clock=clock)
    assert [throttle.take("a") for _ in range(4)] == [0, 0, 0, 10]
    assert throttle.take("b") == 0
    clock.pass_(9.5)
    assert throttle.take("a") == pytest.approx(0.5)
    clock.pass_(0.5)
    assert [throttle.take("a") for _ in range(2)] == [0, 10]
    clock.pass_(1000)
    assert [throttle.take("a") for _ in range(4)] == [0, 0, 0, 10]


def test_what_was_no_try_is_given_back(clock) -> None:
    throttle = Throttle(2, 10.0, clock=clock)
    for _ in range(20):
        assert throttle.take("a") == 0
        throttle.give_back("a")
    throttle.take("a")
    throttle.take("a")
    assert throttle.take("a") > 0
    throttle.forget("a")
    assert throttle.take("a") == 0


@given(st.lists(st.floats(0, 100), max_size=60))
def test_never_more_than_the_burst_and_what_came_back(pauses: list[float]) -> None:
    now = [0.0]
    throttle = Throttle(4, 10.0, clock=lambda: now[0])
    taken = 0
    for pause in pauses:
        now[0] += pause
        taken += throttle.take("a") == 0
    assert taken <= 4 + now[0] / 10 + 1e-6


def test_many_addresses_do_not_wash_out_one_that_is_slowed(clock) -> None:
    throttle = Throttle(5, 10.0, clock=clock, most=100)
    for _ in range(5):
        throttle.take("guesser")
    for n in range(1000):
        throttle.take(n)
    assert throttle.take("guesser") > 0
    assert len(throttle._full_at) <= 100


@given(st.text(max_size=300))
def test_whatever_an_address_is_it_has_a_short_key(address: str) -> None:
    assert len(network_of(address)) <= 64


class Holding(PasswordHasher):
    """A hasher whose checks last until they are let go, and that knows how many there were at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.here, self.most = 0, 0

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        with self.lock:
            self.here += 1
            self.most = max(self.most, self.here)
        self.begun.release()
        try:
            assert self.go.wait(60)
            return super().verify(hash, password)  # type: ignore[return-value]
        finally:
            with self.lock:
                self.here -= 1


def test_one_address_has_one_check_at_a_time_and_the_others_go_on() -> None:
    hasher = Holding()
    passwords = Passwords(hasher, at_once=2, patience=60)
    stored = passwords.hash("four words are long")
    answers: queue.Queue[object] = queue.Queue()

    def check(network: str) -> None:
        try:
            answers.put(passwords.matches(stored, "four words are long", network))
        except AccessError as error:
            answers.put(error.reason)

    flood = [threading.Thread(target=check, args=("flooding",)) for _ in range(12)]
    for thread in flood:
        thread.start()
    assert hasher.begun.acquire(timeout=60)
    # One is at work, four wait for their turn.
    assert [answers.get(timeout=60) for _ in range(7)] == ["busy"] * 7
    operator = threading.Thread(target=check, args=("operator",))
    operator.start()
    assert hasher.begun.acquire(timeout=60)  # while the flood holds on to its one place
    assert not hasher.begun.acquire(blocking=False)
    hasher.go.set()
    for thread in [*flood, operator]:
        thread.join()
    assert hasher.most == 2
    assert [answers.get(timeout=60) for _ in range(6)] == [True] * 6
    assert passwords.matches(stored, "four words are long", "flooding")


def test_who_waits_too_long_is_told() -> None:
    hasher = Holding()
    passwords = Passwords(hasher, at_once=1, patience=0.01)
    stored = passwords.hash("four words are long")
    first = threading.Thread(target=passwords.matches, args=(stored, "x", "a"))
    first.start()
    assert hasher.begun.acquire(timeout=60)
    with pytest.raises(AccessError, match="try again") as caught:
        passwords.matches(stored, "x", "b")
    assert caught.value.retry_after > 0
    hasher.go.set()
    first.join()
    assert passwords.matches(stored, "four words are long", "b")
