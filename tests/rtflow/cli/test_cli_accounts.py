"""``rtflow user``, ``token``, ``certs`` and ``audit``, as the operator types them."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rtflow.access.audit import AuditLog
from rtflow.access.certificates import authority_pem, certificates, make_request, server_context
from rtflow.access.enrolment import Enrolling, require_authority
from rtflow.access.store import Access
from rtflow.cli.main import app
from rtflow.errors import AccessError

PASSWORD = "four words are long"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the accounts are, as the environment says."""
    monkeypatch.setenv("RTFLOW_ACCESS", str(tmp_path / "access"))
    monkeypatch.delenv("RTFLOW_DEBUG", raising=False)
    return tmp_path / "access"


@pytest.fixture
def call(folder: Path, tmp_path: Path) -> Callable[..., Result]:
    """Run a command in this process."""
    (tmp_path / "password").write_text(f"{PASSWORD}\nno part of it\n")

    def call_(line: str, typed: str = "") -> Result:
        words = [str(tmp_path / "password") if word == "FILE" else word for word in line.split()]
        return CliRunner().invoke(app, words, input=typed)

    return call_


def printed(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("rtflow: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def told(folder: Path) -> list[tuple[str, object]]:
    """What the audit log says was done to whom."""
    log = AuditLog(folder / "audit.jsonl")
    assert log.verify().broken == ""
    return [(entry.what, entry.details.get("name")) for entry in log.entries()]


def test_a_user_from_first_to_last(call, folder: Path) -> None:
    printed(call("user add anna --role operator --password-file FILE"))
    access = Access(folder)
    identity = access.check_password("anna", PASSWORD, "10.0.0.7")
    assert identity.role == "operator"
    assert "anna  operator, since 20" in printed(call("user list"))
    assert json.loads(printed(call("user list --json")))["users"][0]["name"] == "anna"
    printed(call("user password anna --password-file -", "another password\n"))
    assert not access.still_valid(identity)
    assert access.check_password("anna", "another password", "10.0.0.7")
    printed(call("user remove anna"))
    with pytest.raises(AccessError):
        access.check_password("anna", "another password", "10.0.0.7")
    assert "no users in" in call("user list").stderr
    assert told(folder) == [("user_add", "anna"), ("user_password", "anna"), ("user_remove", "anna")]
    log = (folder / "audit.jsonl").read_text()
    assert PASSWORD not in log
    assert "another" not in log


def test_a_password_is_asked_for_twice_and_not_shown(folder: Path, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rtflow", "user", "add", "anna"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"RTFLOW_ACCESS": str(folder)},
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        while text not in seen:
            seen += os.read(ours, 1000).decode()

    try:
        # The blank behind each question is written when the terminal shows no more what is typed.
        until("Password of anna: ")
        os.write(ours, PASSWORD.encode() + b"\n")
        until("Once more: ")
        os.write(ours, PASSWORD.encode() + b"\n")
        until("anna may log in as viewer")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert PASSWORD not in seen
    assert Access(folder).check_password("anna", PASSWORD, "10.0.0.7").role == "viewer"


@pytest.mark.parametrize(
    ("line", "typed", "says"),
    [
        ("user add anna", "", "there is no terminal to ask for a password at"),
        ("user add anna --password-file nowhere", "", "nowhere: No such file"),
        ("user add anna --password-file -", "", "expected a line of text"),
        ("user add anna --password-file -", "short\n", "at least 10 characters"),
        ("user add anna --role root --password-file FILE", "", "'root' is no role"),
        ("user add ../anna --password-file FILE", "", "'../anna' is no name"),
        ("user password berta --password-file FILE", "", "there is no user 'berta'"),
        ("user remove berta", "", "there is no user 'berta'"),
        ("token add x --role root", "", "'root' is no role"),
        ("token add x --role scanner --days 0", "", "more than 0"),
        ("token revoke x", "", "there is no token 'x'"),
        ("token enrol x --role scanner", "", "'rtflow certs make'"),
        ("certs show", "", "'rtflow certs make'"),
        ("certs make *.lan", "", "no host name or address"),
    ],
)
def test_what_is_refused_is_one_line(call, folder: Path, line: str, typed: str, says: str) -> None:
    assert says in refused(call(line, typed))
    assert Access(folder).users() == []
    assert Access(folder).tokens() == []


def test_what_is_refused_is_in_the_audit_log(call, folder: Path) -> None:
    refused(call("user remove berta"))
    refused(call("token add x --role root"))
    (removed, added) = AuditLog(folder / "audit.jsonl").entries()
    assert (removed.what, removed.details["name"]) == ("user_remove", "berta")
    assert "no user" in str(removed.details["refused"])
    assert "no role" in str(added.details["refused"])


def test_a_token_from_first_to_last(call, folder: Path) -> None:
    result = call("token add eye --role viewer --days 30")
    text = printed(result).strip()
    access = Access(folder)
    identity = access.check_token(text)
    assert (identity.name, identity.role) == ("eye", "viewer")
    assert text not in result.stderr
    listed = printed(call("token list"))
    assert listed.startswith("eye  viewer, since 20")
    assert "until" in listed
    (one,) = json.loads(printed(call("token list --json")))["tokens"]
    assert one["expires"] - one["added"] == pytest.approx(30 * 86_400)
    assert text not in listed + printed(call("token list --json"))
    printed(call("token revoke eye"))
    assert not access.still_valid(identity)
    assert "no tokens in" in call("token list").stderr
    assert told(folder) == [("token_add", "eye"), ("token_revoke", "eye")]
    assert text not in (folder / "audit.jsonl").read_text()


def test_an_agent_enrols_with_what_is_printed(call, folder: Path, tmp_path: Path) -> None:
    printed(call("certs make console.lan 10.0.0.5"))
    result = call("token enrol scanner-1 --role scanner --minutes 5")
    code = printed(result).strip()
    assert "good once, for 5 minutes, for scanner-1 as scanner" in result.stderr
    require_authority(authority_pem(folder / "certificates"), code)
    access = Access(folder)
    enrolment = Enrolling(access).redeem(code, make_request(tmp_path / "agent", "agent"), "10.0.0.7")
    assert access.check_token(enrolment.token).name == "scanner-1"
    assert code not in (folder / "audit.jsonl").read_text()
    assert told(folder) == [("certificates_make", None), ("token_enrol", "scanner-1")]


def test_certificates_are_made_and_shown(call, folder: Path) -> None:
    made = printed(call("certs make console.lan 10.0.0.5"))
    assert printed(call("certs show")) == made
    assert "console.lan, 10.0.0.5, localhost, 127.0.0.1, ::1" in made
    authority, server = certificates(folder / "certificates")
    assert authority.fingerprint in made
    shown = json.loads(printed(call("certs show --json")))["certificates"]
    assert [one["sha256"] for one in shown] == [authority.fingerprint, server.fingerprint]
    assert [one["warning"] for one in shown] == ["", ""]
    server_context(folder / "certificates", client_certificates=True)

    printed(call("certs make"))
    again = certificates(folder / "certificates")
    assert again[0] == authority
    assert again[1].fingerprint != server.fingerprint
    assert "localhost" in again[1].names


def test_the_audit_log_is_shown(call, folder: Path) -> None:
    log = AuditLog(folder / "audit.jsonl")
    for n in range(30):
        log.write("anna" if n % 2 else "berta", "act", n=n)
    log.write("\x1b[2Jcarla\u202e", "log\nin", text="é")
    lines = printed(call("audit show")).splitlines()
    assert len(lines) == 20
    assert "\\x1b[2Jcarla\\u202e  log\\nin  text=é" in lines[-1]
    assert [line.split("n=")[1] for line in printed(call("audit show --who anna --last 2")).splitlines()] == [
        "27",
        "29",
    ]
    assert printed(call("audit show --what nothing")) == ""
    entries = json.loads(printed(call("audit show --json --last 1")))["entries"]
    assert entries[0]["who"] == "\x1b[2Jcarla\u202e"


def test_the_audit_log_is_verified(call, folder: Path) -> None:
    assert "lines that hold: 0" in printed(call("audit verify"))
    log = AuditLog(folder / "audit.jsonl")
    for n in range(5):
        log.write("anna", "act", n=n)
    whole = printed(call("audit verify"))
    assert "lines that hold: 5" in whole
    kept = whole.split("hash of the last: ")[1].strip()
    log.write("anna", "after")
    printed(call(f"audit verify --expect {kept.upper()}"))
    other = call(f"audit verify --expect {'0f' * 32}")
    assert other.exit_code == 4
    assert "no line has the hash" in other.stderr

    text = log.path.read_text()
    log.path.write_text(text.replace('"n":2}', '"n":7}', 1))
    result = call("audit verify")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
    assert "audit.jsonl line 3: it was changed" in result.stderr
    verdict = json.loads(call("audit verify --json").stdout)
    assert verdict["lines"] == 2
    assert "line 3" in verdict["broken"]


def test_another_folder_is_chosen_by_an_option(call, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    printed(call(f"token add eye --role viewer --access {other}"))
    assert Access(other).tokens()[0].name == "eye"
    assert not folder.exists()
    assert {stat.S_IMODE(path.stat().st_mode) for path in other.iterdir()} == {0o600}
    assert "lines that hold: 1" in printed(call(f"audit verify --access {other}"))


def test_help_is_told_for_each(call) -> None:
    for line in ("user", "token", "certs", "audit"):
        text = printed(call(f"{line} --help"))
        assert "Examples" in text
    for line in ("user add", "token enrol", "certs make", "audit verify"):
        assert "--access" in printed(call(f"{line} --help"))


def test_help_of_accounts_imports_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom rtflow.cli.main import main\nsys.argv = ['rtflow', 'user', 'add', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(done.stderr.split())
    assert "rtflow.cli.user" in modules
    assert not {"cryptography", "argon2", "msgspec", "ssl", "rtflow.access.store"} & modules
