"""A real display, and real windows on it."""

import os
import socket
import stat
import subprocess
import sys

import psutil
import pytest
from processes import LIMIT, environment

from rtflow.cli.desktop import opened_display
from rtflow.errors import UsageError


def message(**environment: str) -> subprocess.CompletedProcess[str]:
    """A window that says something for a second."""
    command = ["xmessage", "-timeout", "1", "hello"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_display_is_there_for_who_has_its_secret_and_leaves_nothing() -> None:
    before = os.environ.get("DISPLAY"), os.environ.get("XAUTHORITY")
    with opened_display() as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            assert connection.recv(12).startswith(b"RFB 003.")
        assert message().returncode == 0
        refused = message(XAUTHORITY="/nonexistent")
        assert refused.returncode != 0
        assert "Authorization required" in refused.stderr
    assert (os.environ.get("DISPLAY"), os.environ.get("XAUTHORITY")) == before
    assert not path.parent.exists()


def test_who_leaves_early_keeps_nobody_out() -> None:
    """As where a page is loaded anew some times: to the display all are one host."""
    with opened_display() as path:
        for _ in range(12):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                assert connection.recv(100) == b"RFB 003.008\n"


HELD = """
from rtflow.cli.desktop import opened_display
with opened_display() as at:
    print(at, flush=True)
    input()
"""


def test_a_display_does_not_outlast_an_rtflow_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        displays = psutil.Process(process.pid).children()
        process.kill()
    assert displays
    gone, alive = psutil.wait_procs(displays, timeout=LIMIT)
    for one in alive:
        one.kill()
    assert gone
    assert not alive


def test_where_there_is_no_vnc_server_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="apt-get install tigervnc-standalone-server"), opened_display():
        pass
