"""Accounts: who is let in, who is not, and for how long."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtflow.access.store import ALLOWED, Access, Identity, default_folder, may, require_name
from rtflow.errors import AccessError, OutputError, UsageError

PASSWORD = "four words are long"
HERE, ELSEWHERE = "10.0.0.7", "10.0.0.8"


def refusal(call: Callable[[], object]) -> AccessError:
    with pytest.raises(AccessError) as caught:
        call()
    return caught.value


def test_a_user_is_who_they_say_with_the_cost_that_is_shipped(folder: Path) -> None:
    access = Access(folder)
    access.add_user("anna", PASSWORD, "operator")
    (kept,) = access.users()
    hasher = PasswordHasher()
    assert kept.password.startswith("$argon2id$")
    assert f"m={hasher.memory_cost},t={hasher.time_cost}" in kept.password
    found = access.check_password("anna", PASSWORD, HERE)
    assert (found.name, found.role, found.kind) == ("anna", "operator", "user")
    assert refusal(lambda: access.check_password("anna", PASSWORD + "!", HERE)).reason == "password"


def test_the_answer_does_not_tell_who_there_is(access: Access) -> None:
    access.add_user("anna", PASSWORD, "viewer")
    wrong = refusal(lambda: access.check_password("anna", "something else", HERE))
    unknown = refusal(lambda: access.check_password("berta", "something else", HERE))
    assert str(wrong) == str(unknown)
    assert (wrong.reason, unknown.reason) == ("password", "unknown")


def test_a_password_is_the_same_from_every_keyboard(access: Access) -> None:
    access.add_user("anna", "caf\u00e9 au lait", "viewer")
    assert access.check_password("anna", "cafe\u0301 au lait", HERE).name == "anna"


@pytest.mark.parametrize("sent", ["", "x" * 10_000, "\x00", "\ud800 surrogate", "🙈" * 300, PASSWORD + "\n"])
def test_no_password_is_too_strange_to_be_wrong(access: Access, sent: str) -> None:
    access.add_user("anna", PASSWORD, "viewer")
    assert refusal(lambda: access.check_password("anna", sent, HERE)).reason == "password"


@pytest.mark.parametrize("name", ["", "x" * 10_000, "../anna", "anna\n", "\ud800", "Anna", "anna ", "аnna"])
def test_no_name_is_too_strange_to_be_unknown(access: Access, name: str) -> None:
    access.add_user("anna", PASSWORD, "viewer")
    assert refusal(lambda: access.check_password(name, PASSWORD, HERE)).reason == "unknown"


@given(st.text(max_size=80))
def test_a_name_is_plain_and_short(name: str) -> None:
    plain = set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-")
    if plain and 0 < len(name) <= 64 and name[0].isalnum():
        assert require_name(name) == name
    else:
        with pytest.raises(UsageError, match="is no name"):
            require_name(name)


@pytest.mark.parametrize(
    ("password", "says"), [("short", "at least 10"), ("x" * 1025, "at most 1024"), ("é" * 600, "at most")]
)
def test_a_password_that_is_none(access: Access, password: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        access.add_user("anna", password, "viewer")
    assert not access.users()


def test_a_name_belongs_to_one_user(access: Access) -> None:
    access.add_user("anna", PASSWORD, "viewer")
    with pytest.raises(UsageError, match="there is a user anna already"):
        access.add_user("anna", "another password", "operator")
    access.add_token("anna", "scanner")  # tokens have names of their own
    with pytest.raises(UsageError, match="there is a token anna already"):
        access.add_token("anna", "subject")
    with pytest.raises(UsageError, match="'root' is no role"):
        access.add_user("berta", PASSWORD, "root")
    with pytest.raises(UsageError, match="there is no user 'berta'"):
        access.remove_user("berta")


# Guessing


def test_guessing_is_slowed_where_it_happens_and_nowhere_else(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    access.add_user("anna", PASSWORD, "operator")
    reasons = [
        refusal(lambda: access.check_password("anna", "wrong password", HERE)).reason for _ in range(8)
    ]
    assert reasons == ["password"] * 5 + ["throttled"] * 3
    slowed = refusal(lambda: access.check_password("anna", PASSWORD, HERE))
    assert slowed.reason == "throttled"
    assert 0 < slowed.retry_after <= 30
    assert access.check_password("anna", PASSWORD, ELSEWHERE).name == "anna"
    access.add_user("berta", PASSWORD, "viewer")
    assert access.check_password("berta", PASSWORD, HERE).name == "berta"


def test_who_gets_in_may_mistype_again(access: Access) -> None:
    access.add_user("anna", PASSWORD, "operator")
    for _ in range(4):
        for _ in range(4):
            assert refusal(lambda: access.check_password("anna", "mistyped it", HERE)).reason == "password"
        assert access.check_password("anna", PASSWORD, HERE).name == "anna"


def test_an_address_that_tries_many_names_is_slowed(access: Access) -> None:
    access.add_user("anna", PASSWORD, "operator")
    for n in range(20):
        name = f"name{n}"
        assert refusal(partial(access.check_password, name, PASSWORD, "2001:db8::1")).reason == "unknown"
    neighbour = "2001:db8::ffff"  # of the same 64 bits: as good as the same machine
    assert refusal(lambda: access.check_password("anna", PASSWORD, neighbour)).reason == "throttled"
    assert access.check_password("anna", PASSWORD, "2001:db8:0:1::1").name == "anna"


def test_tries_at_the_same_time_count_each(access: Access) -> None:
    access.add_user("anna", PASSWORD, "operator")
    reasons: list[str] = []

    def guess() -> None:
        reasons.append(refusal(lambda: access.check_password("anna", "wrong password", HERE)).reason)

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reasons.count("password") <= 5
    assert set(reasons) <= {"password", "throttled", "busy"}


# Tokens


def test_a_token_is_shown_once_and_kept_as_a_hash(access: Access, folder: Path) -> None:
    text = access.add_token("scanner-1", "scanner")
    assert text.startswith("rtflow_")
    assert text not in (folder / "accounts.json").read_text()
    assert text.removeprefix("rtflow_") not in (folder / "accounts.json").read_text()
    found = access.check_token(text)
    assert (found.name, found.role, found.kind) == ("scanner-1", "scanner", "token")
    assert text not in repr(found)


@given(st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_text_is_no_token(access: Access, text: str) -> None:
    if not access.tokens():
        access.add_token("scanner-1", "scanner")
    assert refusal(lambda: access.check_token(text)).reason == "unknown"


@pytest.mark.parametrize(
    "change",
    [str.lower, lambda text: text[:-1], lambda text: text + " ", lambda text: text * 1000, lambda _: ""],
)
def test_a_token_that_is_changed_is_none(access: Access, change: Callable[[str], str]) -> None:
    text = access.add_token("scanner-1", "scanner")
    assert refusal(lambda: access.check_token(change(text))).reason == "unknown"


def test_a_token_ends_with_its_day_also_while_it_is_connected(access: Access, clock) -> None:
    text = access.add_token("scanner-1", "scanner", days=1)
    clock.pass_(86_399)
    identity = access.check_token(text)
    assert access.still_valid(identity)
    clock.pass_(1)
    assert not access.still_valid(identity)
    assert refusal(lambda: access.check_token(text)).reason == "expired"
    for days in (0, -1, float("nan"), 1e9):
        with pytest.raises(UsageError, match="a token is good for"):
            access.add_token("scanner-2", "scanner", days=days)


def test_what_another_process_revokes_ends_at_once(opened: Callable[[], Access], folder: Path) -> None:
    server, command = opened(), opened()
    identity = server.check_token(command.add_token("scanner-1", "scanner"))
    other = server.check_token(command.add_token("scanner-2", "scanner"))
    command.remove_token("scanner-1")
    assert not server.still_valid(identity)
    assert server.still_valid(other)

    code = (
        "import sys, pathlib\nfrom rtflow.access.store import Access\n"
        "Access(pathlib.Path(sys.argv[1])).remove_token('scanner-2')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=Path(__file__).parents[3])
    assert not server.still_valid(other)


def test_a_new_account_of_the_same_name_is_another(access: Access) -> None:
    access.add_user("anna", PASSWORD, "operator")
    first = access.check_password("anna", PASSWORD, HERE)
    access.set_password("anna", "another password")
    assert not access.still_valid(first)
    second = access.check_password("anna", "another password", HERE)
    assert access.still_valid(second)
    access.remove_user("anna")
    access.add_user("anna", "another password", "operator")
    assert not access.still_valid(second)
    assert refusal(lambda: access.check_password("anna", PASSWORD, HERE)).reason == "password"


def test_a_hash_of_older_cost_is_made_anew_and_nobody_is_logged_out(folder: Path, opened) -> None:
    older = Access(folder, hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    older.add_user("anna", PASSWORD, "viewer")
    before = older.check_password("anna", PASSWORD, HERE)
    assert opened().check_password("anna", PASSWORD, HERE) == before
    assert "m=8,t=1" in opened().users()[0].password
    assert opened().still_valid(before)


# What each may do


def test_the_table_of_who_may_what() -> None:
    allowed = {
        (role, action)
        for role, action in itertools.product(("operator", "viewer", "scanner", "subject"), ALLOWED)
        if may(Identity("x", role, "token", ""), action)
    }
    assert allowed == {
        ("operator", "act"),
        ("operator", "watch"),
        ("viewer", "watch"),
        ("scanner", "scanner"),
        ("subject", "subject"),
    }


# The file


def test_what_is_kept_is_the_owners_alone_whatever_the_umask(access: Access, folder: Path) -> None:
    before = os.umask(0)
    try:
        access.add_user("anna", PASSWORD, "viewer")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "accounts.json": 0o600,
        "accounts.json.lock": 0o600,
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_open_is_not_used(
    opened: Callable[[], Access], folder: Path, mode: int
) -> None:
    identity = opened().check_token(opened().add_token("scanner-1", "scanner"))
    (folder / "accounts.json").chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        opened().users()
    assert not opened().still_valid(identity)


def test_a_folder_that_others_may_write_to_is_not_used(access: Access, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="chmod 700"):
        access.add_user("anna", PASSWORD, "viewer")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 2}', b'{"users": [{}]}', b'{"more": 1}', b"\xff"]
)
def test_a_damaged_file_lets_nobody_in_and_is_left_as_it_is(
    access: Access, folder: Path, content: bytes
) -> None:
    identity = access.check_token(access.add_token("scanner-1", "scanner"))
    (folder / "accounts.json").write_bytes(content)
    assert not access.still_valid(identity)
    for call in (
        access.users,
        lambda: access.add_user("anna", PASSWORD, "viewer"),
        lambda: access.check_token("x"),
    ):
        with pytest.raises(UsageError, match=r"accounts\.json is damaged"):
            call()
    assert (folder / "accounts.json").read_bytes() == content


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder"):
        Access(tmp_path / "file" / "access").add_token("scanner-1", "scanner")


def test_accounts_added_by_many_processes_are_all_there(folder: Path, access: Access) -> None:
    code = (
        "import sys, pathlib\nfrom rtflow.access.store import Access\n"
        "access = Access(pathlib.Path(sys.argv[1]))\n"
        "for n in range(15):\n    access.add_token(f'{sys.argv[2]}-{n}', 'scanner')\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), who], cwd=Path(__file__).parents[3])
        for who in ("one", "two")
    ]
    assert [process.wait() for process in started] == [0, 0]
    assert {token.name for token in access.tokens()} == {
        f"{w}-{n}" for w in ("one", "two") for n in range(15)
    }


def test_where_accounts_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RTFLOW_ACCESS", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("RTFLOW_ACCESS")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert default_folder() == tmp_path / "config" / "rtflow" / "access"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    assert default_folder() == tmp_path / "Roaming" / "rtflow" / "access"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / "Library" / "Application Support" / "rtflow" / "access"
