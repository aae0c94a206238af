"""Sessions: found again after a restart, ended by whatever should end them, and by nothing else."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtflow.access.sessions import Sessions, csrf_matches, csrf_token, same_origin
from rtflow.access.store import Access, Identity
from rtflow.errors import UsageError

ORIGIN = "https://console.lan:8443"
HOUR = 3600


@pytest.fixture
def anna(access: Access) -> Identity:
    access.add_user("anna", "four words are long", "operator")
    return access.check_password("anna", "four words are long", "10.0.0.7")


@pytest.fixture
def began(opened: Callable[[], Access], clock) -> Callable[[], Sessions]:
    """Sessions as a process has them that has just begun."""
    return lambda: Sessions(opened(), clock=clock)


def test_a_session_outlasts_its_process(began: Callable[[], Sessions], anna: Identity, folder: Path) -> None:
    session, csrf = began().open(anna, origin=ORIGIN)
    assert began().find(session) == anna
    assert csrf_matches(session, csrf)
    kept = (folder / "sessions.json").read_text()
    assert session not in kept
    assert csrf not in kept
    assert stat.S_IMODE((folder / "sessions.json").stat().st_mode) == 0o600


def test_a_session_is_there_after_the_process_that_opened_it_was_killed(access: Access, folder: Path) -> None:
    access.add_token("eye", "viewer")
    code = (
        "import sys, pathlib, time\nfrom rtflow.access.store import Access, Identity\n"
        "from rtflow.access.sessions import Sessions\n"
        "access = Access(pathlib.Path(sys.argv[1]))\n"
        "token = access.tokens()[0]\n"
        "who = Identity(token.name, token.role, 'token', token.fingerprint)\n"
        "print(Sessions(access).open(who, origin='https://console.lan')[0], flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    with process.stdout:
        session = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = Sessions(access).find(session)
    assert found is not None
    assert (found.name, found.role) == ("eye", "viewer")


def test_other_ids_find_nobody(began: Callable[[], Sessions], anna: Identity) -> None:
    sessions = began()
    session, csrf = sessions.open(anna, origin=ORIGIN)
    for wrong in ("", session[:-1], session + "=", session.swapcase(), csrf, "x" * 10_000, "\ud800", "\x00"):
        assert sessions.find(wrong) is None
    assert sessions.find(session, origin="https://evil.example") is None
    assert sessions.find(session, origin=ORIGIN) == anna


def test_who_does_nothing_is_logged_out(began: Callable[[], Sessions], anna: Identity, clock) -> None:
    sessions = began()
    session, _ = sessions.open(anna, origin=ORIGIN)
    clock.pass_(8 * HOUR)
    assert sessions.find(session) == anna
    clock.pass_(8 * HOUR + 1)
    assert sessions.find(session) is None


def test_what_was_used_counts_after_a_restart(began: Callable[[], Sessions], anna: Identity, clock) -> None:
    sessions = began()
    session, _ = sessions.open(anna, origin=ORIGIN)
    clock.pass_(7 * HOUR)
    assert sessions.find(session) == anna
    clock.pass_(7 * HOUR)
    assert began().find(session) == anna


def test_a_page_that_asks_all_the_time_does_not_write_all_the_time(
    began: Callable[[], Sessions], anna: Identity, clock, folder: Path
) -> None:
    sessions = began()
    session, _ = sessions.open(anna, origin=ORIGIN)
    written = set()
    for _ in range(300):
        clock.pass_(1)
        sessions.find(session)
        written.add((folder / "sessions.json").stat().st_ino)
        written.add((folder / "sessions.json").read_bytes())
    assert len([one for one in written if isinstance(one, bytes)]) == 5


def test_a_session_ends_however_much_it_is_used(began: Callable[[], Sessions], anna: Identity, clock) -> None:
    sessions = began()
    session, _ = sessions.open(anna, origin=ORIGIN)
    for _ in range(24):
        clock.pass_(HOUR)
        assert sessions.find(session) == anna
    clock.pass_(1)
    assert sessions.find(session) is None


def test_a_clock_that_was_set_back_makes_no_session_last(
    began: Callable[[], Sessions], anna: Identity, clock
) -> None:
    session, _ = began().open(anna, origin=ORIGIN)
    clock.pass_(-25 * HOUR)
    assert began().find(session) is None


def test_who_logs_out_or_is_removed_or_gets_a_new_password_is_out(
    began: Callable[[], Sessions], opened: Callable[[], Access], anna: Identity
) -> None:
    server = began()
    here, there = (server.open(anna, origin=ORIGIN)[0] for _ in range(2))
    server.close(here)
    assert server.find(here) is None
    assert began().find(here) is None
    assert server.find(there) == anna
    opened().set_password("anna", "another password")
    assert server.find(there) is None


def test_one_account_has_sixteen_sessions_and_displaces_no_other(
    began: Callable[[], Sessions], access: Access, anna: Identity, clock
) -> None:
    sessions = began()
    eye = access.check_token(access.add_token("eye", "viewer"))
    other, _ = sessions.open(eye, origin=ORIGIN)
    ids = []
    for _ in range(16):
        clock.pass_(1)
        ids.append(sessions.open(anna, origin=ORIGIN)[0])
    clock.pass_(1)
    assert sessions.find(ids[0]) == anna  # used last
    clock.pass_(1)
    ids.append(sessions.open(anna, origin=ORIGIN)[0])
    assert [sessions.find(one) is not None for one in ids] == [True, False] + [True] * 15
    assert sessions.find(other) == eye


def test_a_damaged_file_is_told(began: Callable[[], Sessions], anna: Identity, folder: Path) -> None:
    session, _ = began().open(anna, origin=ORIGIN)
    (folder / "sessions.json").write_bytes(os.urandom(100))
    with pytest.raises(UsageError, match=r"sessions\.json is damaged"):
        began().find(session)


# Requests that somebody else's page makes


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_csrf_token_is_of_one_session(session: str, sent: str) -> None:
    assert csrf_matches(session, csrf_token(session))
    assert not csrf_matches(session, sent)
    assert not csrf_matches(session + "x", csrf_token(session))


NAMES = {"console.lan", "https://fmri.example.org"}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://console.lan", "console.lan"),
        ("https://console.lan", "console.lan:443"),
        ("https://console.lan:443", "console.lan"),
        ("https://Console.LAN:8443", "console.lan:8443"),
        ("https://10.0.0.5:8443", "10.0.0.5:8443"),
        ("https://[fd00::5]:8443", "[fd00::5]:8443"),
        ("https://localhost:8443", "localhost:8443"),
        ("http://localhost:8080", "localhost:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("https://fmri.example.org", "10.0.0.5:8443"),
    ],
)
def test_pages_of_ours(origin: str, host: str) -> None:
    assert same_origin(origin, host, NAMES)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "console.lan"),
        ("https://console.lan", None),
        ("", ""),
        ("null", "null"),
        ("https://evil.example", "console.lan"),
        ("https://evil.example", "evil.example"),  # a name that leads here, of somebody else
        ("http://console.lan", "console.lan:80"),
        ("https://console.lan", "console.lan:8443"),
        ("https://console.lan:8443", "console.lan"),
        ("https://console.lan.evil.example", "console.lan"),
        ("https://console.lan@evil.example", "console.lan"),
        ("https://evil.example/console.lan", "console.lan"),
        ("https://console.lan/", "console.lan"),
        ("https://console.lan?", "console.lan"),
        ("https://console.lan, https://evil.example", "console.lan"),
        ("https://console.lan https://evil.example", "console.lan"),
        ("file://", "console.lan"),
        ("data:text/html,", "console.lan"),
        ("chrome-extension://console.lan", "console.lan"),
        ("https://console.lan\n", "console.lan"),
        ("https://conѕole.lan", "conѕole.lan"),
        ("http://fmri.example.org", "10.0.0.5"),
        ("https://fmri.example.org:444", "10.0.0.5:8443"),
        ("http://10.0.0.5:8443", "10.0.0.5:8443"),
        ("https://console.lan:99999", "console.lan:99999"),
        ("https://" + "x" * 10_000, "x" * 10_000),
        ("https://[console.lan", "[console.lan"),
    ],
)
def test_pages_of_others(origin: str | None, host: str | None) -> None:
    assert not same_origin(origin, host, NAMES)


@given(st.text(max_size=60), st.text(max_size=60))
@example("https://[::1%25a]", "[::1%25a]")
@example("https://0x7f.1", "0x7f.1")
def test_no_header_is_an_error_or_a_way_in(origin: str, host: str) -> None:
    for one in (origin, f"https://{origin}"):
        if same_origin(one, host, NAMES):
            assert one.lower().startswith(("https://", "http://"))
