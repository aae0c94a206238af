"""What real runs write is BIDS at any moment: while they go on, killed, and taken up.

Moments are drawn. Some are changes of the data set, before which the process stops or dies (see
`moments`), so that what lies between two files is met too; others are objects that were delivered.
"""

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import moments
import nibabel
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from processes import LIMIT, environment
from scanning import Scanner as Delivery
from validator import bids_errors

from rtflow.derivatives import derive
from rtflow.journal import Recording
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.delivery import FolderTarget
from rtflow.sources.simulation.protocol import ScanProtocol
from rtflow.sources.simulation.scanner import Scanner

VOLUMES = 12
VENDORS = ("siemens-mosaic", "philips", "ge")
BELOW = "derivatives/rtflow"
SOAKS = "SECONDS_TO_SOAK" in os.environ
#: Nothing is made smaller when it fails: each example is a process, and its seed says all.
drawn = settings(
    max_examples=10 if SOAKS else 1,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
seeds = st.integers(0, 2**32 - 1)


@functools.cache
def objects(vendor: str) -> list[tuple[str, bytes]]:
    spec = SimulateSource(tr=1.0, volumes=VOLUMES, shape=(16, 16, 8), voxel=12.0, seed=1)
    scanner = Scanner(spec, ScanProtocol(vendor=vendor))  # type: ignore[arg-type]
    return [(item.name, item.data) for item in scanner.objects()]


class Live:
    """A run of the template in a process of its own, and the scanner that delivers to it."""

    def __init__(self, folder: Path, vendor: str) -> None:
        self.out, self.incoming, self.vendor = folder / "out", folder / "in", vendor
        self.raw = self.out / "bids"
        self.counts = folder / "counts"
        self.incoming.mkdir()
        self.delivered = 0

    @contextmanager
    def process(
        self, *arguments: str, sign: int = signal.SIGCONT, below: str = "", places: set[int] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        root, numbers = self.raw / below, ",".join(map(str, sorted(places or ())))
        command = [sys.executable, moments.__file__, str(int(sign)), str(self.counts), str(root), numbers]
        process = subprocess.Popen(
            [*command, "run", *arguments, "--json", "--quiet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    @property
    def first(self) -> list[str]:
        source = f"folder:{self.incoming}?volumes={VOLUMES}&idle=100&patience=1000"
        options = ["--set", "dummy_volumes=2", "--out", str(self.out)]
        return ["template", "--source", source, *options]

    @property
    def resumed(self) -> list[str]:
        (run_dir,) = (self.out / "runs").iterdir()
        return ["--resume", str(run_dir)]

    def delivery(self, seconds: float = 2.0) -> Delivery:
        target, all_of_it = FolderTarget(self.incoming, "in-place"), objects(self.vendor)

        def put(name: str, data: bytes) -> None:
            target.put("005", name, data, 0)
            self.delivered += 1

        return Delivery(*(functools.partial(put, *one) for one in all_of_it), every=seconds / len(all_of_it))

    def check(self) -> None:
        """No error in either data set, and the image that grows can be read."""
        for root in (self.raw, self.raw / BELOW):
            # An empty folder is none yet.
            if any(not path.name.startswith(".") for path in root.glob("*")):
                assert bids_errors(root) == [], sorted(path.name for path in root.rglob("*"))
        self.load()

    def load(self) -> None:
        # In this order: what is there and not hidden any more is whole, but what comes later may not be.
        images = list(self.raw.glob("sub-*/func/*_bold.nii"))
        try:
            lines = (self.raw / ".bidsignore").read_text().splitlines()
        except FileNotFoundError:  # as soon as nothing is hidden, and that may be between two steps of a look
            lines = []
        for path in images:
            if not any(fnmatch(path.name, line) for line in lines):
                image = nibabel.load(path)
                count = image.header["dim"][4]
                assert image.shape[3] == count >= 1
                data = np.asanyarray(image.dataobj)
                assert np.array_equal(data, undisturbed(self.vendor)["bold"][..., :count])

    def content(self) -> dict[str, object]:
        """What must not depend on what happened to the process."""
        (bold,) = self.raw.glob("sub-*/func/*_bold.nii")
        about = json.loads(bold.with_suffix(".json").read_text())
        (confounds,) = self.raw.glob(f"{BELOW}/sub-*/func/*_desc-confounds_timeseries.tsv")
        names = [path.relative_to(self.raw).as_posix() for path in self.raw.rglob("*") if path.is_file()]
        # What a killed process has left half written is hidden, and goes when it is surely nobody's.
        names = [name for name in names if not name.endswith(".partial")]
        return {
            "bold": np.asanyarray(nibabel.load(bold).dataobj),
            "sidecar": {name: value for name, value in about.items() if name != "RunUID"},
            "confounds": confounds.read_text(),
            "names": sorted(names),
        }


@functools.cache
def undisturbed(vendor: str, below: str = "") -> dict[str, object]:
    """The content after a run that nothing happened to, and the number of changes it has made."""
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder), vendor)
        with live.delivery(0.0), live.process(*live.first, below=below) as process:
            _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        assert live.content()["bold"].shape[3] == VOLUMES  # type: ignore[attr-defined]
        return live.content() | {"changes": int(live.counts.read_text())}


def same(live: Live) -> None:
    expected, found = undisturbed(live.vendor), live.content()
    assert np.array_equal(found.pop("bold"), expected["bold"])  # type: ignore[call-overload]
    for name, value in found.items():
        assert value == expected[name], name


def changes(vendor: str, below: str) -> int:
    return undisturbed(vendor, below)["changes"]  # type: ignore[return-value]


def stopped(process: subprocess.Popen[str]) -> bool:
    """Whether it stops, in time; False if it ends."""
    end = time.monotonic() + LIMIT
    while process.poll() is None:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            return True
        assert time.monotonic() < end
        time.sleep(0.002)
    return False


@pytest.mark.parametrize("below", ["", BELOW], ids=["raw", "derivatives"])
@drawn
@given(seed=seeds)
def test_whatever_is_being_written_both_data_sets_are_bids(below: str, seed: int) -> None:
    """The process stands still just before a change, of which there are two dozen or so."""
    chance = random.Random(seed)
    vendor = chance.choice(VENDORS[:2])
    places = set(chance.sample(range(1, changes(vendor, below) + 1), 2))
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder), vendor)
        with (
            live.process(*live.first, sign=signal.SIGSTOP, below=below, places=places) as process,
            live.delivery(0.5),
        ):
            stops = 0
            while stopped(process):
                stops += 1
                live.check()
                process.send_signal(signal.SIGCONT)
            _, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, stops) == (0, len(places)), err
        live.check()
        same(live)


@pytest.mark.parametrize("vendor", VENDORS if SOAKS else VENDORS[:2])
def test_while_a_run_goes_on_its_data_set_is_bids(vendor: str, tmp_path: Path) -> None:
    """Nothing stands still: the validator reads while the run writes."""
    live, chance = Live(tmp_path, vendor), random.Random(f"{vendor} live")
    total = len(objects(vendor))
    places = [1, *sorted(chance.sample(range(2, total), 4 if SOAKS else 1)), total]
    undisturbed(vendor)
    with live.process(*live.first) as process:
        end = time.monotonic() + LIMIT
        while not (live.raw / "dataset_description.json").exists():
            assert process.poll() is None and time.monotonic() < end  # noqa: PT018
            time.sleep(0.01)
        live.check()  # before the first volume
        with live.delivery():
            for place in places:
                while live.delivered < place:
                    assert time.monotonic() < end
                    live.load()
                live.check()
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    live.check()
    same(live)


@pytest.mark.parametrize("below", ["", BELOW], ids=["raw", "derivatives"])
@drawn
@given(seed=seeds)
def test_killed_just_before_a_change_and_taken_up(below: str, seed: int) -> None:
    """A run that has ended is not taken up: its derivatives are written anew from its journal."""
    chance = random.Random(seed)
    vendor = chance.choice(VENDORS[:2])
    place = chance.randint(1, changes(vendor, below))
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder), vendor)
        with live.delivery(0.5):
            with live.process(*live.first, sign=signal.SIGKILL, below=below, places={place}) as process:
                process.communicate(timeout=LIMIT)
            assert process.returncode == -signal.SIGKILL
            live.check()
            (run_dir,) = (live.out / "runs").iterdir()
            if Recording(run_dir).stop is not None:
                derive(run_dir)
            else:
                with live.process(*live.resumed) as process:
                    _, err = process.communicate(timeout=LIMIT)
                assert process.returncode == 0, err
        live.check()
        same(live)
