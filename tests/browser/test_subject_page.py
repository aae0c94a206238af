"""The subject's page in a real browser: each value is painted once, in order, over lost connections too."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest
from aiohttp import web
from cable import Cable
from subjects import RUN, Subject, serving

from rtflow.documents import now
from rtflow.server.messages import EndRun, Note, Received, Response, Shown, Trigger, Value
from rtflow.server.thread import Server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, WebSocketRoute

TOKEN = "rtflow_a-token"

#: What the picture says that it shows, each time that it changes.
WATCH = """
window.seen = [];
new MutationObserver((changes) => {
  for (const change of changes) {
    if (change.attributeName === "data-volume") window.seen.push(Number(change.target.dataset.volume));
  }
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-volume"] });
"""


async def by_token(request: web.Request, kind: str) -> None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized
    if kind != "subject":
        raise web.HTTPForbidden


def wait_for_status(page: Page, words: str) -> None:
    """Wait until the page says so, whether or not it is seen (the policy forbids to wait by a script)."""
    page.locator("#status", has_text=words).wait_for(state="attached")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(authorise=by_token) as server:
        yield server


@pytest.fixture
def subject(server: Server) -> Subject:
    subject = Subject(server)
    subject.channel.begin_run(RUN)
    return subject


class Opened:
    """The page, and what it asked for and complained of."""

    def __init__(self, context: BrowserContext, port: int, query: str = "", token: str = TOKEN) -> None:
        self.hosts: set[str] = set()
        self.said: list[str] = []
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        context.on("console", lambda message: self.said.append(message.text))
        context.on("weberror", lambda error: self.said.append(str(error.error)))
        context.add_init_script(WATCH)
        self.page: Page = context.new_page()
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        self.own = f"127.0.0.1:{port}"
        self.page.goto(f"http://{self.own}/subject?{query}#{token}")

    def wait_for(self, volume: int) -> None:
        self.page.wait_for_selector(f".feedback[data-volume='{volume}']")

    @property
    def seen(self) -> list[int]:
        seen: list[int] = self.page.evaluate("window.seen")
        return seen


def test_each_of_100_values_is_painted_once_and_in_order(subject: Subject, context: BrowserContext) -> None:
    with Cable(subject.server.port) as cable:
        opened = Opened(context, cable.port)
        for volume in range(1, 101):
            subject.offer(volume, value=volume / 50 - 1)
            if volume in (30, 50):
                opened.wait_for(volume)
                cable.cut()  # the page hears that its connection is gone
            elif volume == 70:
                opened.wait_for(volume)
                cable.pull()  # nobody hears anything
            elif volume == 90:
                cable.plug()
        said = subject.wait_for(lambda body: isinstance(body, Shown) and body.volume == 100)
        opened.wait_for(100)
        assert opened.seen == list(range(1, 101))
        assert cable.connections >= 3
    for kind in (Received, Shown):
        assert [body.volume for body in said if isinstance(body, kind)] == list(range(1, 101))
    shown = [body.at for body in said if isinstance(body, Shown)]
    assert shown == sorted(shown)
    assert opened.hosts == {opened.own}
    assert not [words for words in opened.said if "Content Security Policy" in words]


def test_what_came_late_behind_a_lost_connection_is_painted_and_told_as_late(
    subject: Subject, context: BrowserContext
) -> None:
    """By the TR of the run, 1000 s, and by two seconds where nobody knows it; the clocks differ."""
    ahead, tr = 5000.0, 1000.0
    subject.channel.link._now = lambda: now() + ahead

    def offer(volume: int, age: float, run_uid: str) -> None:
        at = now() + ahead
        subject.offer(volume, run_uid=run_uid, time=at - age / 2, received=at - age)

    def shown(run_uid: str) -> list[tuple[int, bool]]:
        said = subject.wait_for(lambda body: isinstance(body, Shown) and body.volume == 3)
        told = [body for body in said if isinstance(body, Shown) and body.run_uid == run_uid]
        return [(body.volume, body.late) for body in told]

    with Cable(subject.server.port) as cable:
        opened = Opened(context, cable.port)
        subject.channel.begin_run(type(RUN)(run_uid="slow", tr=tr))
        offer(1, 0.0, "slow")
        opened.page.wait_for_selector(".feedback[data-volume='1'][data-late='no']")
        cable.pull()
        offer(2, 1.5 * tr, "slow")  # as if it had waited so long for the connection
        cable.cut()
        cable.plug()
        opened.page.wait_for_selector(".feedback[data-volume='2'][data-late='yes']")
        offer(3, 0.5 * tr, "slow")
        opened.page.wait_for_selector(".feedback[data-volume='3'][data-late='no']")
        assert shown("slow") == [(1, False), (2, True), (3, False)]
        subject.channel.end_run(EndRun(run_uid="slow"))
        subject.channel.begin_run(type(RUN)(run_uid="unknown"))
        for volume, age in ((1, -60.0), (2, 60.0), (3, -60.0)):
            offer(volume, age, "unknown")
        assert shown("unknown") == [(1, False), (2, True), (3, False)]
        assert opened.seen == [1, 2, 3, 1, 2, 3]
        assert cable.connections >= 2


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_given_up(subject: Subject, context: BrowserContext) -> None:
    with Cable(subject.server.port) as cable:
        opened = Opened(context, cable.port)
        subject.offer(1)
        opened.wait_for(1)
        cable.pull()
        for volume in range(2, 8):
            subject.offer(volume)
        opened.page.keyboard.press("1")
        wait_for_status(opened.page, "lost")
        cable.plug()
        opened.wait_for(7)
        assert opened.seen == list(range(1, 8))
        said = subject.wait_for(lambda body: isinstance(body, Shown) and body.volume == 7)
        assert cable.connections >= 2
    assert [body.volume for body in said if isinstance(body, Shown)] == list(range(1, 8))
    assert len([body for body in said if isinstance(body, Response)]) == 1


def test_a_page_that_is_loaded_anew_shows_what_was_not_shown_and_nothing_twice(
    subject: Subject, context: BrowserContext
) -> None:
    opened = Opened(context, subject.server.port)
    subject.offer(1)
    opened.wait_for(1)
    subject.wait_for(lambda body: isinstance(body, Shown))
    opened.page.goto("about:blank")
    subject.offer(1, value=0.1)  # as after a crash of the server
    opened.page.goto(f"http://{opened.own}/subject")
    subject.offer(2)
    opened.wait_for(2)
    assert opened.seen == [2]
    # It is known by its cookie, and the token stands nowhere that a script or a person could read it.
    assert opened.page.url == f"http://{opened.own}/subject"
    assert TOKEN not in opened.page.evaluate(
        "document.cookie + JSON.stringify({...localStorage, ...sessionStorage})"
    )
    (cookie,) = context.cookies(f"http://{opened.own}/subject/socket")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/subject")
    assert context.cookies(f"http://{opened.own}/api") == []


def test_a_value_waits_until_it_is_due(subject: Subject, context: BrowserContext) -> None:
    link = subject.channel.link
    link._now = lambda: now() - 5000  # the server's clock is another one
    answers: list[str | bytes] = []
    heard = lambda socket: socket.on("framereceived", lambda data: answers.append(data))  # noqa: E731
    context.on("page", lambda page: page.on("websocket", heard))
    opened = Opened(context, subject.server.port)
    # While a page is loaded its clock is known badly: the fastest of its first questions tells it well.
    while sum("Pong" in str(data) for data in answers) < 8:
        opened.page.wait_for_timeout(20)
    offered = now()
    subject.offer(1, time=offered - 5000, delay=0.5)
    said = subject.wait_for(lambda body: isinstance(body, Shown))
    assert isinstance(said[-1], Shown)
    # The page's clock is this machine's, and the offset between its clock and `now` is what we learn of it.
    assert link.clock.to_ours(said[-1].at) + 5000 >= offered + 0.5 - 0.05


def frames(heard: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [frame for frame in heard if frame["frame"] == kind]


def test_the_next_connection_goes_on_where_the_last_one_stood(
    server: Server, context: BrowserContext
) -> None:
    connections: list[WebSocketRoute] = []
    heard: list[list[dict[str, Any]]] = []

    def connected(route: WebSocketRoute) -> None:
        connections.append(route)
        heard.append([])
        route.on_message(lambda said, kept=heard[-1]: kept.append(json.loads(said)))

    def say(frame: str, **fields: object) -> None:
        connections[-1].send(json.dumps({"frame": frame, **fields}))

    def until(there: Callable[[], object]) -> None:
        for _ in range(1000):
            if there():
                return
            opened.page.wait_for_timeout(30)  # Playwright's loop must run for anything to come
        raise AssertionError(heard)

    def meet(connection: int, heard_epoch: str = "", heard_seq: int = 0) -> dict[str, Any]:
        until(lambda: len(heard) == connection and frames(heard[-1], "Hello"))
        say("Hello", schema=1, epoch="e", first=[1, 1], heard_epoch=heard_epoch, heard=[heard_seq, 0])
        until(lambda: frames(heard[-1], "Ping"))
        asked = frames(heard[-1], "Ping")[0]["sent"]
        say("Pong", sent=asked, received=asked, answered=asked)
        say("Ping", sent=1.0)
        until(lambda: frames(heard[-1], "Pong"))
        kinds = [frame["frame"] for frame in heard[-1]]
        assert "Post" not in kinds[: kinds.index("Pong")]
        return frames(heard[-1], "Hello")[0]

    def offer(seq: int, volume: int, delay: float = 0.0) -> None:
        value = msgspec.to_builtins(Value(run_uid="r", volume=volume, value=0.0, time=now(), delay=delay))
        say("Post", seq=seq, lane=0, sizes=[], body=value)

    context.route_web_socket("**/subject/socket**", connected)
    opened = Opened(context, server.port)
    first = meet(1)
    assert (first["heard_epoch"], first["heard"], first["first"]) == ("", [0, 0], [1, 1])
    offer(1, volume=1, delay=0.3)
    offer(2, volume=2, delay=3600)  # it comes meanwhile, and waits to be shown
    until(lambda: frames(heard[-1], "Ack"))
    offer(1, volume=3)  # the number says that it was heard
    until(lambda: len(frames(heard[-1], "Ack")) == 2)
    assert {ack["seq"] for ack in frames(heard[-1], "Ack")} == {1}
    posts = frames(heard[-1], "Post")
    assert [post["seq"] for post in posts] == [1, 2, 3]
    told = [(post["body"]["type"], post["body"]["volume"]) for post in posts]
    assert sorted(told) == [("Received", 1), ("Received", 2), ("Shown", 1)]
    connections[-1].close()
    # The server has heard two of three. What waits is not acknowledged, and comes again in vain.
    second = meet(2, heard_epoch=first["epoch"], heard_seq=2)
    assert (second["heard_epoch"], second["heard"], second["epoch"]) == ("e", [1, 0], first["epoch"])
    until(lambda: frames(heard[-1], "Post"))
    offer(2, volume=2, delay=3600)
    opened.page.keyboard.press("x")
    until(lambda: len(frames(heard[-1], "Post")) == 2)
    assert [post["seq"] for post in frames(heard[-1], "Post")] == [3, 4]
    offer(4, volume=4)  # and the one before is lacking
    third = meet(3, heard_epoch=first["epoch"], heard_seq=4)
    assert third["heard"] == [1, 0]
    assert opened.seen == [1]


def test_a_new_servers_clock_is_not_taken_for_the_earlier_ones(
    server: Server, context: BrowserContext
) -> None:
    connections: list[WebSocketRoute] = []
    shown: list[dict[str, Any]] = []
    ahead = {1: 5000.0, 2: 0.0}  # seconds by which each server's clock is ahead of this machine's

    def connected(route: WebSocketRoute) -> None:
        connections.append(route)
        which = len(connections)

        def answer(said: str) -> None:
            frame = json.loads(said)
            if frame["frame"] == "Hello":
                told = {"epoch": f"server {which}", "first": [1, 1], "heard_epoch": "", "heard": [0, 0]}
                route.send(json.dumps({"frame": "Hello", "schema": 1, **told}))
                route.send(json.dumps({"frame": "Ping", "sent": now()}))
                value = Value(run_uid="r", volume=which, value=0.0, time=now() + ahead[which], delay=2.0)
                post = {"seq": 1, "lane": 0, "sizes": [], "body": msgspec.to_builtins(value)}
                route.send(json.dumps({"frame": "Post", **post}))
            elif frame["frame"] == "Ping":
                there = frame["sent"] + ahead[which]
                # As if the second were slower: of one server, the quicker answers would count.
                asked = frame["sent"] - (0.2 if which == 2 else 0.0)
                pong = {"sent": asked, "received": there, "answered": there}
                route.send(json.dumps({"frame": "Pong", **pong}))
            elif frame["frame"] == "Post" and frame["body"]["type"] == "Shown":
                shown.append(frame["body"])

        offered[which] = now()
        route.on_message(answer)

    offered: dict[int, float] = {}
    context.route_web_socket("**/subject/socket**", connected)
    opened = Opened(context, server.port)
    for number in (1, 2):
        opened.wait_for(number)
        if number == 1:
            connections[0].close()
    while not any(body["volume"] == 2 for body in shown):
        opened.page.wait_for_timeout(30)
    for body in shown:
        assert body["at"] - offered[body["volume"]] > 1.5, body


def test_keys_are_responses_and_triggers_with_the_time_of_the_page(
    subject: Subject, context: BrowserContext
) -> None:
    opened = Opened(context, subject.server.port, "keys=1,2&trigger=5")
    subject.offer(1)
    opened.wait_for(1)
    before = opened.page.evaluate("(performance.timeOrigin + performance.now()) / 1000")
    for key in ("1", "x", "5", "2", "5"):
        opened.page.keyboard.press(key)
    after = opened.page.evaluate("(performance.timeOrigin + performance.now()) / 1000")
    said = subject.wait_for(lambda body: isinstance(body, Trigger) and body.n == 2)
    told = [body for body in said if isinstance(body, Response | Trigger)]
    assert [body.button if isinstance(body, Response) else body.n for body in told] == ["1", 1, "2", 2]
    assert {body.run_uid for body in told} == {RUN.run_uid}
    times = [before, *(body.at for body in told), after]
    assert times == sorted(times)


def test_a_run_after_the_other_and_messages_to_the_participant(
    subject: Subject, context: BrowserContext
) -> None:
    opened = Opened(context, subject.server.port)
    subject.offer(1)
    opened.wait_for(1)
    assert opened.page.get_attribute("body", "data-running") == "yes"
    subject.channel.post(Note(text="Please lie still."))
    subject.channel.end_run(EndRun(run_uid=RUN.run_uid))
    opened.page.wait_for_selector("body[data-running='no']")
    assert opened.page.text_content("#note") == "Please lie still."
    second = type(RUN)(run_uid="run-2")
    subject.channel.begin_run(second)
    subject.offer(1, run_uid="run-2")
    said = subject.wait_for(lambda body: isinstance(body, Shown) and body.run_uid == "run-2")
    assert isinstance(said[-1], Shown)
    assert opened.seen == [1, 1]


def test_who_may_not_come_in_is_told_why(subject: Subject, context: BrowserContext) -> None:
    wrong = Opened(context, subject.server.port, token="rtflow_another")
    wait_for_status(wrong.page, "no longer valid")
    right = Opened(context, subject.server.port)
    subject.offer(1)
    right.wait_for(1)
    # A second tab has the cookie, and another one of the name is connected.
    second = context.new_page()
    second.goto(f"http://{right.own}/subject")
    wait_for_status(second, "Another page shows the feedback already")
    right.page.close()
    subject.offer(2)
    second.wait_for_selector(".feedback[data-volume='2']")


def test_a_server_that_ends_the_connection_for_good_is_believed(
    subject: Subject, context: BrowserContext
) -> None:
    opened = Opened(context, subject.server.port)
    subject.offer(1)
    opened.wait_for(1)
    goodbye = functools.partial(subject.channel.link.hang_up, final=True)
    subject.server._loop.call_soon_threadsafe(goodbye, "the token was revoked")
    wait_for_status(opened.page, "the token was revoked")


@pytest.mark.parametrize("look", ["circle", "thermometer", "text"])
def test_what_is_shown_of_a_value(look: str, subject: Subject, context: BrowserContext) -> None:
    opened = Opened(context, subject.server.port, f"look={look}&low=0&high=2")
    shown = {}
    for volume, (value, kind) in enumerate([(0.0, "neutral"), (1.5, "x"), (-3.0, "x"), (9.0, "x")], start=1):
        subject.offer(volume, value=value, kind=kind)
        opened.wait_for(volume)
        mark = opened.page.locator(".feedback g:not(.cross) .value")
        assert opened.page.locator(".feedback .cross").is_visible() == (kind == "neutral")
        name = {"circle": "r", "thermometer": "height"}.get(look)
        shown[value] = float(mark.get_attribute(name) or 0) if name else mark.text_content()
    wanted = {
        "circle": {0.0: 0, 1.5: 300, -3.0: 0, 9.0: 400},
        "thermometer": {0.0: 0, 1.5: 600, -3.0: 0, 9.0: 800},
        "text": {0.0: "", 1.5: "+1.50", -3.0: "\u22123.00", 9.0: "+9.00"},
    }
    assert shown == wanted[look]
