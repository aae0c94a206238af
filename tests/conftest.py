"""What every test shares: the real series, the order of the tests, and an environment without telemetry."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# An activated environment has programs of pynetdicom on its path that are called as dcmtk's are.
_OWN = sysconfig.get_path("scripts")
os.environ["PATH"] = os.pathsep.join(f for f in os.environ["PATH"].split(os.pathsep) if f != _OWN)

# A change must not be refused for what chance finds in code that it did not touch: continuous integration
# draws the same examples each time. Everybody else draws new ones, and `make soak` draws them on end.
# No example has a time limit of its own: on a busy machine that would be chance, too.
hypothesis.settings.register_profile("drawn", deadline=None)
hypothesis.settings.register_profile("same", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("same" if os.environ.get("CI") == "true" else "drawn")

# Nipype asks its home server for news when it is imported, unless it is told not to before that.
os.environ["NIPYPE_NO_ET"] = "1"
os.environ["NO_ET"] = "1"

ROOT = Path(__file__).resolve().parents[1]
# Snakemake is in an environment of its own.
os.environ.setdefault("RTFLOW_SNAKEMAKE", str(ROOT / ".venv-snakemake" / "bin" / "snakemake"))
UNPACK = ROOT.parent / "shared" / "data" / "unpack"

#: Markers of tests that run after all others, in this order: a broken unit shows before its consequences.
LATE_MARKERS = ("realdata", "slow")

#: Modules that tests import by name: not to be imported once more, under another name, in search of tests.
collect_ignore = ["helpers"]


def laid_out() -> list[Path]:
    """Return the folders that may hold laid-out series, the preferred one first."""
    folders = [Path.home() / ".cache" / "rtflow-data"]
    if chosen := os.environ.get("RTFLOW_DATA"):
        folders.insert(0, Path(chosen))
    return folders


def have_realdata() -> bool:
    """Tell whether real series are laid out or can be."""
    return UNPACK.is_file() or any(folder.is_dir() and any(folder.iterdir()) for folder in laid_out())


@cache
def find_series(name: str) -> Path:
    """Return the folder of the series `name`, laying it out first where that is possible."""
    for folder in laid_out():
        if (folder / name).is_dir():
            return folder / name
    if not UNPACK.is_file():
        pytest.fail(
            f"The series {name} is needed; it is in none of {', '.join(map(str, laid_out()))}: "
            "lay it out there, or set RTFLOW_DATA to the folder that has it.",
            pytrace=False,
        )
    # Tests may run in several processes: one of them lays a series out, the others wait for it.
    with (Path(tempfile.gettempdir()) / f"rtflow-unpack-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([UNPACK, name], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip().splitlines()[-1]) / name


@pytest.fixture(scope="session")
def series() -> Callable[[str], Path]:
    """Callable from the name of a real series to its folder."""
    return find_series


@pytest.fixture
def no_ants(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without ANTs."""
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not shutil.which("antsRegistration", path=folder)]
    monkeypatch.setenv("PATH", os.pathsep.join(without))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not (Path(entry) / "ants").is_dir()])


@pytest.fixture
def ants(no_ants: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose ANTs is the Python package, which stands apart from what the tests import."""
    if platform.machine() != "x86_64":
        pytest.skip("there is no antspyx for this processor")
    folder = Path(sys.prefix) / "ants"
    assert folder.is_dir(), f"{folder} is missing: make test installs it"
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])


def lateness(item: pytest.Item) -> int:
    """Return 0 for a doctest, 1 for a plain test, more for one with a late marker."""
    if isinstance(item, pytest.DoctestItem):
        return 0
    return max(
        (2 + LATE_MARKERS.index(m.name) for m in item.iter_markers() if m.name in LATE_MARKERS), default=1
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the fast tests first, and leave out those whose real series cannot be had."""
    items.sort(key=lateness)
    if have_realdata():
        return
    without = [item for item in items if item.get_closest_marker("realdata")]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if not item.get_closest_marker("realdata")]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Count a skipped test as a failure where nothing may be skipped: in continuous integration."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("\nA test was skipped; with CI=true that is a failure.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that tests were left out for want of real series."""
    if not have_realdata():
        terminalreporter.write_line(
            f"The tests on real series were left out: there are none in {' or '.join(map(str, laid_out()))}; "
            "set RTFLOW_DATA to a folder that has them.",
            yellow=True,
        )
