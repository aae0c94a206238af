"""Names from the network stay inside the folder; what is kept outlives whatever moment a process ends at."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.agents.kept_values import Arrival, KeptValues
from rtflow.agents.lines import address, said
from rtflow.agents.outlets import Files, LabStream, run_folder
from rtflow.errors import ProtocolError, UsageError
from rtflow.server.messages import BeginRun, StimulusEvent, Trigger

NAMES = st.one_of(
    st.text(max_size=70),
    st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "~", "CON", "nul.txt", "\n", "\0", ":"])).map(
        "".join
    ),
)


@given(NAMES)
def test_no_name_of_a_run_leads_out(tmp_path_factory, name: str) -> None:
    out = tmp_path_factory.getbasetemp() / "names"
    out.mkdir(exist_ok=True)
    try:
        folder = run_folder(out, name)
    except ProtocolError:
        return
    assert folder.parent == out
    assert folder.resolve().parent == out.resolve()
    assert folder.name not in ("", ".", "..")


@pytest.mark.parametrize(
    "name", ["..", "a/b", "con", "LPT1.x", "a.", ".a", "a\n", "", "a" * 65, "C:x", "a\\b"]
)
def test_names_that_are_refused(tmp_path, name) -> None:
    with pytest.raises(ProtocolError, match="no name of a run"):
        run_folder(tmp_path, name)


def test_a_link_is_not_followed_out_of_the_folder(tmp_path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = Files(out)
    (out / "run-a").symlink_to(elsewhere)
    with pytest.raises(ProtocolError, match="is a link"):
        asyncio.run(files.give(value(1)))
    assert not list(elsewhere.iterdir())


def value(volume: int, run_uid: str = "run-a") -> Arrival:
    return Arrival(run_uid=run_uid, volume=volume, value=volume / 4, arrived=1.0)


def test_a_file_is_written_once_unless_it_is_not_whole(tmp_path) -> None:
    files = Files(tmp_path)
    path = tmp_path / "run-a" / "volume-0002.json"
    asyncio.run(files.give(value(2)))
    first = path.stat()
    asyncio.run(files.give(value(2)))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    path.write_text("")
    asyncio.run(files.give(value(2)))
    assert json.loads(path.read_text())["value"] == 0.5


OPEN: list[KeptValues] = []


@pytest.fixture(autouse=True)
def close_all():
    yield
    while OPEN:
        OPEN.pop().close()


def kept(path: Path, failed=pytest.fail) -> KeptValues:
    OPEN.append(KeptValues(path, ("files", "tcp"), failed))
    return OPEN[-1]


def test_each_way_goes_on_where_it_was(tmp_path) -> None:
    one = kept(tmp_path / "values.jsonl")
    one.begin(BeginRun(run_uid="run-a", tr=2.0))
    assert [one.take(value(volume)) for volume in (1, 2, 2, 1, 3)] == [True, True, False, False, True]
    one.give("files", value(1))
    one.give("files", value(2))
    one.give("tcp", value(1))
    two = kept(tmp_path / "values.jsonl")
    assert (two.run, two.last) == (BeginRun(run_uid="run-a", tr=2.0), 3)
    assert (two.next("files"), two.next("tcp")) == (value(3), value(2))
    two.give("files", value(3))
    assert two.next("files") is None
    assert not two.take(value(3))
    assert two.take(value(1, "run-b"))
    assert two.next("files") == two.next("tcp") == value(1, "run-b")
    assert not kept(tmp_path / "values.jsonl").take(value(1, "run-b"))


@given(st.data())
def test_a_process_may_end_at_any_byte(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("kept") / "values.jsonl"
    one = kept(path)
    for volume in range(1, 6):
        one.take(value(volume))
        one.give("files", value(volume))
    one.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    two = kept(path)
    came, after = two.last, two.next("files")
    assert after is None or after.volume == came
    for volume in range(1, 7):
        assert two.take(value(volume)) is (volume > came)
    assert [one.volume for one in two._values] == list(range(1, 7))
    two.close()


def test_where_nothing_can_be_written_values_are_given_on_all_the_same(tmp_path) -> None:
    told: list[str] = []
    folder = tmp_path / "gone"
    one = kept(folder / "values.jsonl", told.append)
    assert one.take(value(1))
    assert one.next("files") == value(1)
    assert "cannot be written" in told[0]
    folder.mkdir()
    one.take(value(2))
    assert kept(folder / "values.jsonl").last == 2


def test_what_a_client_says() -> None:
    assert said(b'{"type": "Trigger", "n": 2, "at": 3.5}', "run-a") == Trigger(n=2, at=3.5, run_uid="run-a")
    event = b'{"type": "StimulusEvent", "name": "face", "onset": 1, "duration": 2, "run_uid": "run-b"}'
    assert said(event, "run-a") == StimulusEvent(name="face", onset=1.0, duration=2.0, run_uid="run-b")


@pytest.mark.parametrize(
    "text", ["", "5:", ":70000", "host:5", "1.2.3:4", "a", "-1", "0.0.0.0:5555", "[::]:1"]
)
def test_addresses_that_are_refused(text) -> None:
    with pytest.raises(UsageError, match="expected PORT"):
        address(text)


# The lab streaming layer looks for streams on all networks; here on none but this machine's own.
LSL_SETTINGS = (
    "[multicast]\nResolveScope = machine\nAddressesOverride = {127.0.0.1}\n[lab]\nKnownPeers = {127.0.0.1}\n"
    "[ports]\nIPv6 = disable\n"
)
LISTENER = """
import asyncio, pylsl
from rtflow.agents.outlets import LabStream
from rtflow.agents.kept_values import Arrival

stream = LabStream("left")
(found,) = pylsl.resolve_byprop("name", "rtflow-left", timeout=30)
inlet = pylsl.StreamInlet(found)
inlet.open_stream(30)

async def give():
    for volume, value in ((3, 0.25), (4, None)):
        await stream.give(Arrival(run_uid="r", volume=volume, value=value))

asyncio.run(give())
print(found.type(), [inlet.pull_sample(30)[0] for _ in range(2)], flush=True)
"""


def test_the_lab_streaming_layer_has_each_value_as_a_sample(tmp_path: Path) -> None:
    (tmp_path / "lsl.cfg").write_text(LSL_SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", LISTENER],
        env=os.environ | {"LSLAPICFG": str(tmp_path / "lsl.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "Feedback [[3.0, 0.25], [4.0, nan]]", done.stderr


def test_what_lsl_needs_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(UsageError, match=r"pip install 'rtflow\[lsl\]'"):
        LabStream("left")
