import asyncio
import contextlib
from pathlib import Path

import pytest
from cables import pipe
from visitors import Agent, guarded

from rtflow.agents.connecting import stay_connected
from rtflow.server.channel import Channel
from rtflow.server.link import Link
from rtflow.server.messages import BeginRun, Body, EndRun, Note
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.wire import Bye


class Listener:
    """An agent that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Body] = []
        self.link = Link(self._work)

    async def _work(self, body: Body, parts: list[bytes]) -> None:
        self.heard.append(body)


def play(story) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def new_channel(changes: list[str]) -> Channel:
    return Channel("one", asyncio.get_running_loop(), lambda channel, what: changes.append(what))


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_an_agent_that_comes_back_takes_over_from_its_own_dead_connection():
    async def story() -> None:
        changes: list[str] = []
        channel, agent = new_channel(changes), Listener()
        channel.post(Note(text="1"))
        runs = []
        for _ in range(4):  # none of the connections is ever seen to be lost by the server
            ours, theirs = pipe()
            runs.append(asyncio.ensure_future(channel.connect(ours, "me")))
            run = asyncio.ensure_future(agent.link.run(theirs))
            await until(lambda: agent.link.connected and channel.link.connected)
            channel.post(Note(text=str(len(runs) + 1)))
            await asyncio.sleep(0)
            await channel.link.emptied()
            run.cancel()
            await asyncio.wait([run])
            theirs.other.lost = theirs.lost = False
        last = runs.pop()
        for run in runs:
            assert "come back" in (await run).reason
        assert not last.done()
        last.cancel()
        await asyncio.wait([last])
        assert [body.text for body in agent.heard] == ["1", "2", "3", "4", "5"]
        await until(lambda: channel.may_connect("another"))

    play(story())


def test_many_connections_at_a_time_leave_one():
    async def story() -> None:
        channel = new_channel([])
        agents = [Listener() for _ in range(8)]
        ends = [pipe() for _ in agents]
        theirs = [
            asyncio.ensure_future(agent.link.run(end[1])) for agent, end in zip(agents, ends, strict=True)
        ]
        ours = [asyncio.ensure_future(channel.connect(end[0], "me")) for end in ends]
        await until(lambda: sum(one.done() for one in ours) == len(ours) - 1)
        assert not channel.may_connect("another")
        await until(lambda: agents[-1].link.connected)
        channel.hang_up(ends[-1][0], "over")
        await asyncio.wait(ours)
        for end in ends:
            end[0].cut()
        await asyncio.gather(*theirs)

    play(story())


@pytest.mark.parametrize("turns", range(4))
def test_one_that_must_leave_leaves_also_when_its_turn_is_still_to_come(turns):
    """While its connection takes over from an earlier one, or just after."""

    async def story() -> None:
        channel, agent = new_channel([]), Listener()
        before, after = pipe(), pipe()
        ours = [asyncio.ensure_future(channel.connect(before[0], "me"))]
        theirs = [asyncio.ensure_future(agent.link.run(before[1]))]
        await until(lambda: channel.link.connected and agent.link.connected)
        ours.append(asyncio.ensure_future(channel.connect(after[0], "me")))
        for _ in range(turns):
            await asyncio.sleep(0)
        for end in (before, after):  # both came by the token that is revoked
            channel.hang_up(end[0], "revoked")
        before[0].cut()
        await theirs[0]
        assert await agent.link.run(after[1]) == Bye(reason="revoked", final=True)
        await asyncio.wait(ours)
        assert channel.may_connect("another")

    play(story())


def test_who_had_to_leave_takes_nobody_along():
    async def story() -> None:
        channel, agent = new_channel([]), Listener()
        before, after = pipe(), pipe()
        first = asyncio.ensure_future(channel.connect(before[0], "me"))
        theirs = asyncio.ensure_future(agent.link.run(before[1]))
        await until(lambda: channel.link.connected and agent.link.connected)
        before[0].cut()
        await asyncio.wait([first, theirs])
        channel.hang_up(before[0], "revoked")  # which has ended by itself
        second = asyncio.ensure_future(channel.connect(after[0], "me"))
        theirs = asyncio.ensure_future(agent.link.run(after[1]))
        await until(lambda: channel.link.connected and agent.link.connected)
        channel.post(Note(text="still here"))
        await asyncio.sleep(0)
        await channel.link.emptied()
        after[0].cut()
        assert (await theirs).reason == "the connection was lost"
        await second

    play(story())


def test_another_agent_of_the_name_is_refused_from_the_first_moment_on():
    async def story() -> None:
        channel = new_channel([])
        ours, _ = pipe()
        assert channel.may_connect("me")
        run = asyncio.ensure_future(channel.connect(ours, "me"))
        await asyncio.sleep(0)
        assert not channel.link.connected  # it has not even said Hello
        assert not channel.may_connect("another")
        assert channel.may_connect("me")
        ours.cut()
        await run
        assert channel.may_connect("another")

    play(story())


def test_in_a_run_a_scanner_that_was_lost_keeps_its_name_for_a_while(monkeypatch):
    async def story() -> None:
        channel = ScannerChannel("one", asyncio.get_running_loop(), lambda channel, what: None)
        agent = Listener()
        ours, theirs = pipe()
        run = asyncio.ensure_future(channel.connect(ours, "me"))
        other = asyncio.ensure_future(agent.link.run(theirs))
        await until(lambda: channel.link.connected)
        channel.begin_run(BeginRun(run_uid="r"))
        ours.cut()
        await asyncio.gather(run, other)
        await until(lambda: not channel.may_connect("another"))
        assert channel.may_connect("me")
        monkeypatch.setattr(ScannerChannel, "kept", 0.0)  # as if that time had passed
        assert channel.may_connect("another")
        monkeypatch.undo()
        channel.end_run(EndRun(run_uid="r", status="completed"))
        await until(lambda: channel.may_connect("another"))

    play(story())


def test_one_that_takes_the_place_of_another_hears_of_the_run():
    async def story() -> None:
        changes: list[str] = []
        channel = new_channel(changes)
        run = BeginRun(run_uid="r")
        channel.begin_run(run)
        for _ in range(2):
            agent = Listener()
            ours, theirs = pipe()
            tasks = [
                asyncio.ensure_future(channel.connect(ours, "me")),
                asyncio.ensure_future(agent.link.run(theirs)),
            ]
            await until(lambda: agent.heard)  # noqa: B023
            await channel.link.emptied()
            assert agent.heard == [run]
            ours.cut()
            await asyncio.gather(*tasks)
        channel.end_run(EndRun(run_uid="r", status="completed"))
        assert changes == ["connected", "lost"] * 2

    play(story())


def test_what_was_posted_last_is_heard_before_the_server_ends(tmp_path: Path):
    async def story() -> None:
        with contextlib.ExitStack() as stack:
            served = stack.enter_context(guarded(tmp_path))
            agent = Agent(served, "subject")
            staying = asyncio.ensure_future(stay_connected(agent.link, agent.place, agent.told.append))
            await until(lambda: served.server.subject().link.connected)

            def end() -> None:
                served.server.begin_run(BeginRun(run_uid="r"))
                for number in range(20):  # more than the network takes at once
                    served.server.subject().post(Note(text=str(number)), [bytes(1 << 21)])
                served.server.end_run("r", "completed")
                stack.close()

            await asyncio.to_thread(end)
            assert [type(body) for body in agent.heard] == [BeginRun, *[Note] * 20, EndRun]
            staying.cancel()
            await asyncio.wait([staying])

    play(story())


@pytest.mark.parametrize("listens", [True, False])
def test_whoever_must_leave_is_out_soon_whether_it_listens_or_not(listens):
    async def story() -> None:
        channel, agent = new_channel([]), Listener()
        ours, theirs = pipe(room=None if listens else 2000)
        connection = asyncio.ensure_future(channel.connect(ours, "me"))
        run = asyncio.ensure_future(agent.link.run(theirs))
        await until(lambda: agent.link.connected and channel.link.connected)
        if not listens:
            run.cancel()
            await asyncio.wait([run])
            theirs.other.lost = theirs.lost = False
            channel.post(Note(text="n"), [bytes(5000)])
        channel.hang_up(ours, "your token was revoked")
        await connection
        if listens:
            bye = await run
            assert (bye.reason, bye.final) == ("your token was revoked", True)

    play(story())
