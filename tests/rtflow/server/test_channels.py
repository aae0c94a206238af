import asyncio
import contextlib

import pytest

from rtflow.server.answers import Refusal
from rtflow.server.channels import Channels
from rtflow.server.messages import BeginRun
from rtflow.server.places import Places


def play(story) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def new_channels() -> Channels:
    return Channels(asyncio.get_running_loop(), lambda channel, what: None)


def come_and_go(channels: Channels, kind: str = "subject", count: int = 100) -> None:
    for number in range(count):
        with channels.coming(kind, f"passing-{number}"):
            pass


def test_whom_a_run_has_spoken_of_and_who_is_here_is_never_forgotten():
    async def story() -> None:
        channels = new_channels()
        channels.run = BeginRun(run_uid="r")
        wanted = channels.find("subject", "display")
        scanner = channels.find("scanner", "scanner")
        with channels.coming("subject", "here") as here:
            for kind in ("subject", "scanner"):
                come_and_go(channels, kind)
            assert {wanted, scanner, here} <= set(channels)
            assert len(list(channels)) == 3 + 2 * 16
            assert channels.find("subject", "display") is wanted

    play(story())


def test_one_that_was_here_lately_finds_its_numbers_again():
    async def story() -> None:
        channels = new_channels()
        with channels.coming("subject", "display") as before:
            before.since = 1.0  # it has said Hello; those that pass by never do
        come_and_go(channels)
        with channels.coming("subject", "display") as after:
            assert after is before

    play(story())


def test_a_name_that_was_only_asked_for_is_not_remembered():
    async def story() -> None:
        channels = new_channels()
        assert channels.may_connect("subject", "display", "x")
        assert list(channels) == []

    play(story())


def test_each_kind_has_places_of_its_own_and_each_visitor_a_part_of_them():
    places = Places({"scanner": (2, 2), "subject": (3, 2)})
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(places.taken("subject", "greedy"))
        with pytest.raises(Refusal, match="2 subjects of greedy already"), places.taken("subject", "greedy"):
            pass
        stack.enter_context(places.taken("subject", "other"))
        with pytest.raises(Refusal, match="there are 3 subjects"), places.taken("subject", "third"):
            pass
        stack.enter_context(places.taken("scanner", "greedy"))
    with places.taken("subject", "greedy"), places.taken("subject", "greedy"):
        pass
