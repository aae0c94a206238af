"""The pages are true: what they tell to type works, what they show is printed, what they name exists.

The blocks of a page are run in their order, in a folder of the page's own, in a real shell with the
environment's commands. What is done to make them quick, and to give them what a reader has:

- a simulated run gets a smaller head and does not wait (`SMALLER` is appended to the command);
- ``/data/incoming`` is a folder of DICOM mosaics, RUN_UID the newest run;
- the journal of a run that is to be resumed is cut off in the middle of a line;
- ``127.0.0.1:8443`` is a port that nobody else has;
- OpenNeuro is an S3 server on this machine, with a small data set in the layout of ds002338;
- lines that begin with one of `APART` are not run; `test_docs_commands` holds that what they name exists.
"""

import json
import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import s3
from pages import PAGES, ROOT, Block, Page, not_printed
from scanning import mosaic_file

from rtflow.design import DesignSettings
from rtflow.dicom.writing import ScanSeries
from rtflow.errors import SettingsError
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.settings import load_settings
from rtflow.source_uri import parse_source
from rtflow.sources import open_source
from rtflow.workflows import template

TO_RUN = [page for page in PAGES if re.search(r"^```(sh|python|toml)$", page.read_text(), re.MULTILINE)]

REFERENCE = ROOT / "docs" / "reference.md"
APART = ("make ", ". .venv/", "pip install", "rtflow bench ")
SMALLER = ("--speed", "max", "--set", "source.shape=[24, 24, 12]", "--set", "source.voxel=8")
COMMAND = """#!/bin/sh
case "$*" in
*folder:* | *journal:* | *bids:* | *dicom:* | *--resume*) ;;
"run "* | "serve "*) set -- "$@" {smaller} ;;
esac
exec {rtflow} "$@"
"""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a reader: the environment's commands come first, and the home folder is an empty one."""
    own = tmp_path_factory.mktemp("reader")
    venv = Path(sys.executable).parent
    command = own / "bin" / "rtflow"
    command.parent.mkdir()
    command.write_text(COMMAND.format(smaller=shlex.join(SMALLER), rtflow=venv / "rtflow"))
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("RTFLOW_DEBUG", "COLUMNS")}
    return kept | {"PATH": f"{own / 'bin'}:{venv}:{os.environ['PATH']}", "HOME": str(own)}


@pytest.fixture(scope="module")
def incoming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a scanner leaves it: the session that the template's design describes."""
    folder = tmp_path_factory.mktemp("incoming")
    source = open_source(
        parse_source("simulate:?volumes=121&tr=4&speed=max&shape=24,24,12&voxel=8"), DesignSettings().design()
    )
    for frame in source.frames(threading.Event()):
        volume = frame_to_incrementals(frame, {})[0]
        series = ScanSeries(volume.affine, tr=4.0, planned=121)
        name = f"001_000005_{frame.volume:06d}.dcm"
        (folder / name).write_bytes(mosaic_file(series, volume.data.astype(np.uint16), frame.volume))
    return folder


@pytest.fixture(scope="module")
def openneuro(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of what stands for OpenNeuro."""
    root = s3.write_dataset(tmp_path_factory.mktemp("openneuro") / s3.DATASET, runs=1)
    with s3.serving() as endpoint:
        s3.upload(endpoint, root)
        yield endpoint


class Reader:
    """Does what a page says, block by block."""

    def __init__(self, folder: Path, incoming: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._incoming = incoming
        self._environment = environment

    def do(self, block: Block) -> tuple[int, str]:
        """Do what a block says; exit status, and what was printed."""
        text = block.text.replace("/data/incoming", str(self._incoming))
        text = text.replace("127.0.0.1:8443", f"127.0.0.1:{self._port}")
        if block.language == "sh":
            return self._type(text)
        if block.language == "toml":
            return self._check_settings(text)
        if block.language != "python":
            return 0, ""
        asks = ">>>" in text
        path = self.folder / (block.file_name or ("typed.txt" if asks else "typed.py"))
        path.write_text(text.replace("RUN_UID", self.newest_run))
        if block.file_name:
            return 0, ""
        if asks:
            return self._run([sys.executable, "-m", "doctest", str(path)])
        return self._run([sys.executable, str(path)])

    @property
    def newest_run(self) -> str:
        """Name of the newest run, if there is one."""
        return max((path.name for path in (self.folder / "rtflow-out" / "runs").glob("*")), default="")

    def _type(self, text: str) -> tuple[int, str]:
        lines = [line for line in text.splitlines() if not f"{line} ".startswith(APART)]
        if any("--resume" in line for line in lines):
            self._cut_off()
        # With a line after it, a command runs beside its shell, not in its place: completion asks for that.
        typed = "\n".join([*lines, "exit $?"])
        typed = re.sub(r"([\w./-]+)/runs/RUN_UID", r'\1/runs/"$(ls \1/runs | tail -n 1)"', typed)
        typed = typed.replace("RUN_UID", '"$(ls rtflow-out/runs | tail -n 1)"')
        return self._run(["bash", "-euo", "pipefail", "-c", typed])

    def _cut_off(self) -> None:
        """Leave of the newest run what is there after a power cut."""
        journal = self.folder / "rtflow-out" / "runs" / self.newest_run / "journal" / "documents.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        assert b"RunStop" in lines[-1]
        half = len(lines) // 2
        journal.write_bytes(b"".join(lines[:half]) + lines[half][: len(lines[half]) // 2])

    def _check_settings(self, text: str) -> tuple[int, str]:
        file = self.folder / "settings.toml"
        file.write_text(text)
        try:
            load_settings(template.Settings, file)
        except SettingsError as error:
            return 1, str(error)
        return 0, ""

    def _run(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=200,
        )
        return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", TO_RUN, ids=named)
def test_a_page_does_what_it_says(
    path: Path, tmp_path: Path, incoming: Path, environment: dict[str, str], openneuro: str
) -> None:
    environment = environment | {"AWS_ENDPOINT_URL_S3": openneuro, "RTFLOW_ACCESS": str(tmp_path / "access")}
    reader = Reader(tmp_path, incoming, environment)
    for block in Page(path).blocks():
        status, printed = reader.do(block)
        assert status == 0, f"{named(path)}, line {block.line} ended with {status}:\n{printed}"
        lacking = not_printed(block.shown, printed)
        assert not lacking, f"{named(path)}, line {block.line} does not print {lacking}, but:\n{printed}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    page = Page(path)
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in Page(target).anchors(), link


def test_the_generated_tables_are_up_to_date() -> None:
    text = REFERENCE.read_text()
    made_anew = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["made_anew"]
    assert made_anew(text) == text, "run: python docs/make_reference.py"


def first_column(heading: str) -> list[str]:
    """What stands as code in the first column of the tables below a heading of the reference."""
    section = re.split(r"^#+ ", REFERENCE.read_text().partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.slow
def test_a_run_leaves_the_files_and_prints_the_keys_that_are_listed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wanted = ("blocks=4", "block=12", "rest=8", "opening=30")
    short = [word for setting in wanted for word in ("--set", f"design.{setting}")]
    short += ["--set", "decoding.train_blocks=2", "--set", "source.volumes=56"]

    def rtflow(*words: str) -> dict[str, object]:
        done = subprocess.run(
            ["rtflow", *words, "--json", "--quiet"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    keys = set(rtflow("run", "template", *short))
    run = rtflow("run", "template", *short, "--set", "bids.run=2")["outputs"]["run"]  # type: ignore[index]
    keys |= set(rtflow("replay", run))
    # Only a run that did not end well says why.
    assert keys == set(first_column("What --json prints")) - {"reason"}

    out = tmp_path / "rtflow-out"
    files = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    files = [re.sub(r"^runs/[^/]+", "runs/RUN_UID", file) for file in files]
    listed = first_column("Folders and files")
    unlisted = [file for file in files if not any(fnmatch(file, pattern) for pattern in listed)]
    assert not unlisted
    # Of graphs with nodes at set-up, of servers, of scanners, of masks of another day, of files that settings
    # name, and reports that were asked for, which this run has not.
    others = {
        "work/*",
        "logs/session.log",
        "settings/*.toml",
        "runs/RUN_UID/aside/*/*.dcm",
        "runs/RUN_UID/received/*",
        "runs/RUN_UID/overlays/*.png",
        "runs/RUN_UID/workflow/files/*/*",
        "runs/RUN_UID/workflow/files.json",
        "runs/RUN_UID/report.html",
    }
    assert {pattern for pattern in listed if not any(fnmatch(file, pattern) for file in files)} == others

    items = dict(
        re.findall(r"^\| `(reference|mask|decoder)` \| (.*?) \|", REFERENCE.read_text(), re.MULTILINE)
    )
    assert {f"{name}.npz" for name in items} == {path.name for path in (out / "session").glob("*.npz")}
    for name, arrays in items.items():
        with np.load(out / "session" / f"{name}.npz") as item:
            found = set(item.files) - {"about.json"}
        told = set(re.findall(r"`([^`]+)`", arrays))
        assert told == found if name != "decoder" else told < found


def test_events_that_are_listed_are_written() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "rtflow" / "stream").glob("*.py"))
    names = first_column("Events of the engine")
    assert "deadline_missed" in names
    for name in names:
        if "." not in name and name != "node":
            assert f'"{name}"' in sources


def test_events_of_the_server_are_all_listed() -> None:
    source = (ROOT / "rtflow" / "server" / "notes.py").read_text()
    written = set(re.findall(r'self\._say\(\s*"(\w+)"', source))
    changes = set(re.findall(r'_changed\(self, "(\w+)"\)', (ROOT / "rtflow/server/channel.py").read_text()))
    display = (ROOT / "rtflow" / "server" / "subject_channel.py").read_text()
    written |= set(re.findall(r'Event\(name="(\w+)"', display))
    assert 'f"agent_{what}"' in source
    written |= {f"agent_{what}" for what in changes - {"repeated"}}
    assert set(first_column("Events of the server")) == written


def test_the_pages_tell_how_fast_the_template_runs() -> None:
    speed = tomllib.loads((ROOT / "workflows" / "template.toml").read_text())["source"]["speed"]
    words = {10: "ten", 12: "twelve", 15: "fifteen", 20: "twenty"}
    for name in ("README.md", "docs/tutorial.md"):
        text = " ".join((ROOT / name).read_text().split())
        assert f"{words[int(speed)]} times faster than a" in text, name
