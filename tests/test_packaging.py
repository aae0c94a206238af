"""The wheel, the source archive, an editable install and a bare checkout are one and the same rtflow."""

import contextlib
import json
import os
import pkgutil
import queue
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import s3
from packaging.requirements import Requirement
from pyproject_hooks import BuildBackendHookCaller, quiet_subprocess_runner
from scanning import put
from served_run import anyone

import rtflow.agents
from rtflow.cli.main import app
from rtflow.dicom.identify import read_object
from rtflow.server.messages import Arrived, BeginRun, SourceEnded, SourceOpened, VolumeSent
from rtflow.server.thread import Server

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {command.name for command in app.registered_commands}
LINKS = ("nodes", "workflows", "bids_apps", "dash_app")

#: Run under ``python -S``, so that no install of the environment that runs the tests gets in the way.
#: Imports every module that it finds or is told of, and prints their names and each package's data files.
#: It must be told where folders are mapped without links: such can be imported, but not found by walking.
PROBE = """
import importlib.util, json, os, pkgutil, site, sys

if len(sys.argv) > 1:
    site.addsitedir(sys.argv[1])
import rtflow

found = {"rtflow", *(module.name for module in pkgutil.walk_packages(rtflow.__path__, "rtflow."))}
modules = sorted(found.union(sys.argv[2:]))
files, data = [], []
for name in modules:
    if name != "rtflow.__main__":  # which would run the command
        importlib.import_module(name)
    spec = importlib.util.find_spec(name)
    files.append(os.path.realpath(spec.origin))
    for top in spec.submodule_search_locations or []:
        for folder, inner, names in os.walk(top):
            packages = {n for n in inner if os.path.exists(f"{folder}/{n}/__init__.py")}
            inner[:] = sorted(set(inner) - packages - {"__pycache__"})
            within = os.path.relpath(folder, top)
            data += [f"{name}:{os.path.normpath(f'{within}/{n}')}" for n in names if not n.endswith(".py")]
print(json.dumps({"modules": modules, "files": files, "data": sorted(data)}))
"""


def python(*arguments: str | Path, path: list[Path], **options: object) -> str:
    """Run this Python without its site's installs, with `path` and then the dependencies to import from."""
    search = os.pathsep.join(map(str, [*path, sysconfig.get_path("purelib")]))
    done = subprocess.run(
        [sys.executable, "-S", *arguments],
        env=os.environ | {"PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source: Path, kind: str, out: Path) -> Path:
    """Build `source` by its own back end and return what came out. `kind`: wheel, sdist or editable."""
    backend = BuildBackendHookCaller(source, "setuptools.build_meta", runner=quiet_subprocess_runner)
    out.mkdir(parents=True, exist_ok=True)
    return out / getattr(backend, f"build_{kind}")(str(out))


def install(wheel: Path, target: Path) -> Path:
    """Install `wheel` alone into the folder `target`."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", target, wheel], check=True)
    return target


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, links as links, so that building leaves the real one alone."""
    copy = tmp_path_factory.mktemp("checkout") / "rtflow"
    leave = shutil.ignore_patterns(
        ".git", ".venv*", ".*cache", ".hypothesis", "__pycache__", "build", "dist", "*.egg-info", "rtflow-out"
    )
    return Path(shutil.copytree(ROOT, copy, symlinks=True, ignore=leave))


@pytest.fixture(scope="session")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, built from the checkout and unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(checkout, "sdist", folder)) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have it
        archive.extractall(folder)
    (unpacked,) = (entry for entry in folder.iterdir() if entry.is_dir())
    return unpacked


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed into."""
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def from_checkout(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a checkout offers that was not installed."""
    return json.loads(python("-c", PROBE, path=[checkout], cwd=tmp_path_factory.mktemp("elsewhere")))


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the bytes of the files in `wheel`, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_checkout_offers_every_source_file(from_checkout: dict[str, list[str]], checkout: Path) -> None:
    sources = {
        path.resolve()
        for folder in ("rtflow", *LINKS)
        for path in (checkout / folder).rglob("*.py")
        if not any(part.is_symlink() for part in path.parents)
    }
    assert {Path(file) for file in from_checkout["files"]} == sources
    assert {"rtflow.nodes", "rtflow.workflows", "rtflow.bids_apps", "rtflow.dash_app"} <= set(
        from_checkout["modules"]
    )


def test_the_wheel_offers_what_a_checkout_offers(
    installed: Path, from_checkout: dict[str, list[str]], tmp_path: Path
) -> None:
    found = json.loads(python("-c", PROBE, path=[installed], cwd=tmp_path))
    assert found["modules"] == from_checkout["modules"]
    assert found["data"] == from_checkout["data"]
    assert not [file for file in found["files"] if not Path(file).is_relative_to(installed.resolve())]


@pytest.mark.filterwarnings(
    "ignore:Editable installation:pyproject_hooks.BuildBackendWarning"
)  # general advice
@pytest.mark.parametrize("source", ["checkout", "sdist"])
def test_an_editable_install_offers_what_a_checkout_offers(
    source: str, request: pytest.FixtureRequest, from_checkout: dict[str, list[str]], tmp_path: Path
) -> None:
    folder = request.getfixturevalue(source)
    site = install(build(folder, "editable", tmp_path / "wheel"), tmp_path / "site")
    found = json.loads(python("-c", PROBE, site, *from_checkout["modules"], path=[site], cwd=tmp_path))
    assert found["modules"] == from_checkout["modules"]
    assert found["data"] == from_checkout["data"]
    assert not [file for file in found["files"] if not Path(file).is_relative_to(folder.resolve())]


def test_the_source_archive_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    rebuilt = build(sdist, "wheel", tmp_path)
    assert rebuilt.name == wheel.name
    assert contents(rebuilt) == contents(wheel)


def test_the_source_archive_holds_no_links_and_no_file_twice(sdist: Path) -> None:
    assert not [path for path in sdist.rglob("*") if path.is_symlink()]
    assert not [folder for folder in LINKS if (sdist / "rtflow" / folder).exists()]
    assert (sdist / "tests" / Path(__file__).name).read_bytes() == Path(__file__).read_bytes()


def test_the_wheel_carries_licence_types_and_data(wheel: Path) -> None:
    names = contents(wheel)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert names["rtflow/py.typed"] == b""
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    tables = {f"rtflow/workflows/{path.name}" for path in (ROOT / "workflows").glob("*.toml")}
    assert tables <= set(names)
    assert not [name for name in names if name.split("/")[0] in {"tests", *LINKS}]


def test_the_links_are_relative_and_lead_to_the_folders() -> None:
    for folder in LINKS:
        link = ROOT / "rtflow" / folder
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{folder}"


def test_the_installed_command_answers(installed: Path, tmp_path: Path) -> None:
    told = python(installed / "bin" / "rtflow", "--help", path=[installed], cwd=tmp_path)
    assert "replay" in told


def test_every_requirement_is_pinned_within_its_range_on_every_python(wheel: Path) -> None:
    (metadata,) = (data for name, data in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    required = [Requirement(line) for line in message_from_bytes(metadata).get_all("Requires-Dist", [])]
    assert len(required) > 20
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    for minor in ("3.11", "3.12", "3.13"):
        here = {"python_version": minor, "python_full_version": f"{minor}.0", "extra": "test"}
        pinned = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(here)]
        versions = {pin.name.lower().replace("_", "-"): str(pin.specifier)[2:] for pin in pinned}
        assert len(versions) == len(pinned), f"a package is pinned twice on Python {minor}"
        for requirement in required:
            if requirement.marker is not None and not requirement.marker.evaluate(here):
                continue  # not wanted on that Python
            version = versions[requirement.name.lower().replace("_", "-")]
            assert requirement.specifier.contains(version), (
                f"{requirement} is pinned to {version}, Python {minor}"
            )


AGENTS = ROOT / "requirements-agents.txt"
DATA_SETS = ROOT / "requirements-openneuro.txt"


@pytest.mark.parametrize("file", [AGENTS, DATA_SETS], ids=lambda path: path.name)
def test_the_agents_need_a_part_of_what_rtflow_needs(wheel: Path, file: Path) -> None:
    (metadata,) = (data for name, data in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    all_of_it = {str(Requirement(line)) for line in message_from_bytes(metadata).get_all("Requires-Dist", [])}
    lines = file.read_text(encoding="utf-8").splitlines()
    needed = {str(Requirement(line)) for line in lines if not line.startswith(("#", "-r "))}
    assert needed < all_of_it


@pytest.fixture(scope="session")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as on the scanner's or the stimulus host: what its page says was typed there."""
    place = tmp_path_factory.mktemp("light") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--python", place, "--disable-pip-version-check", "install", "-q"]
    install = [*pip, "-r", AGENTS, "-c", ROOT / "constraints.txt"]
    if subprocess.run(install, check=False).returncode:  # once more without extra indexes, as .ci/environment
        subprocess.run(install, check=True, env=os.environ | {"PIP_EXTRA_INDEX_URL": " "})
    done = subprocess.run([*pip, "--no-deps", wheel], check=True, capture_output=True, text=True)
    assert "ERROR" not in done.stderr, done.stderr  # that the analysis stack is missing is meant
    return place


@pytest.fixture(scope="session")
def with_data_sets(light: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with what data sets need; in a place of its own, the first one stays light."""
    place = tmp_path_factory.mktemp("data-sets") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    ((site,), (mine,)) = ((one / "lib").glob("python*/site-packages") for one in (light, place))
    (mine / "light.pth").write_text(f"{site}\n")
    install = [sys.executable, "-m", "pip", "--python", place, "--disable-pip-version-check", "install", "-q"]
    install += ["-r", DATA_SETS, "-c", ROOT / "constraints.txt"]
    if subprocess.run(install, check=False).returncode:
        subprocess.run(install, check=True, env=os.environ | {"PIP_EXTRA_INDEX_URL": " "})
    assert not {"nipype", "scipy", "pandas", "aiohttp"} & {path.name for path in mine.iterdir()}
    return place


def in_light(light: Path, *arguments: str | Path) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [light / "bin" / "python", *arguments],
        env=environment | {"NO_COLOR": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_the_agents_install_light(light: Path) -> None:
    """Under 100 MB, and without the analysis stack."""
    (site,) = (light / "lib").glob("python*/site-packages")
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size < 100e6
    assert not {"numpy", "nipype", "nibabel", "scipy"} & {path.name for path in site.iterdir()}
    for agent in (name for name in ("scanner", "subject") if name in COMMANDS):
        with in_light(light, "-m", "rtflow", agent, "--help") as process:
            told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert "--server" in told


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run", "template"], ["graph", "template"]])
def test_what_needs_all_of_rtflow_says_so_where_only_the_agents_are(light: Path, command: list[str]) -> None:
    with in_light(light, "-m", "rtflow", *command) as process:
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert told.startswith(f"rtflow: 'rtflow {command[0]}' needs all of rtflow on this machine, and "), told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_an_agent_that_was_installed_light_sends(light: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    heard: queue.Queue[object] = queue.Queue()

    async def hear(body: object, parts: list[bytes]) -> None:
        heard.put((body, parts))

    where = ["--state", tmp_path / "state", "--watch", folder]
    with Server("127.0.0.1", 0, authorise=anyone) as server:
        channel = server.scanner("scanner")
        channel.listen("run", hear)
        channel.begin_run(BeginRun(run_uid="run"))
        agent = in_light(light, "-m", "rtflow", "scanner", "--server", server.url, *where)
        try:
            assert isinstance(heard.get(timeout=120)[0], SourceOpened)  # type: ignore[index]
            put(folder, 1)
            while not isinstance((sent := heard.get(timeout=120))[0], Arrived):  # type: ignore[index]
                pass
        finally:
            agent.send_signal(signal.SIGINT)
            told, _ = agent.communicate(timeout=120)
    assert agent.returncode == 0, told
    (data,) = sent[1]  # type: ignore[index]
    assert read_object(data).instance.volume == 1


class Replayed:
    """A server with an agent that replays a data set; what the agent sends."""

    def __init__(self, place: Path, source: str, state: Path) -> None:
        heard: queue.Queue[object] = queue.Queue()

        async def hear(body: object, parts: list[bytes]) -> None:
            heard.put(body)

        self.volumes: list[int] = []
        with Server("127.0.0.1", 0, authorise=anyone) as server:
            channel = server.scanner("scanner")
            channel.listen("run", hear)
            channel.begin_run(BeginRun(run_uid="run"))
            command = ["scanner", "--server", server.url, "--state", state, "--source", source]
            agent = in_light(place, "-m", "rtflow", *command)
            try:
                while agent.poll() is None:
                    with contextlib.suppress(queue.Empty):
                        body = heard.get(timeout=0.2)
                        if isinstance(body, VolumeSent):
                            self.volumes.append(body.volume)
                        if isinstance(body, SourceEnded):
                            break
            finally:
                agent.send_signal(signal.SIGINT)
                self.told, _ = agent.communicate(timeout=120)
        self.status = agent.returncode


@pytest.mark.slow
def test_an_agent_with_an_extra_replays_a_data_set_of_openneuro(
    light: Path, with_data_sets: Path, tmp_path: Path
) -> None:
    root = s3.write_dataset(tmp_path / s3.DATASET, volumes=4, runs=1)
    entities = "subject=xp201&task=1dNF&run=1&speed=max"
    with s3.serving() as endpoint:
        s3.upload(endpoint, root)
        by_network = f"openneuro:{s3.DATASET}?{entities}&endpoint={endpoint}&cache={tmp_path / 'cache'}"
        plain = Replayed(light, by_network, tmp_path / "plain")
        assert plain.status == 2, plain.told
        assert "pip install -r requirements-openneuro.txt" in plain.told
        for source in (by_network, f"bids:{root}?{entities}"):
            replayed = Replayed(with_data_sets, source, tmp_path / "state")
            assert (replayed.status, replayed.volumes) == (0, [1, 2, 3, 4]), replayed.told


def modules_of_agents() -> list[str]:
    """Modules that run on the scanner's or the stimulus host."""
    agents = [module.name for module in pkgutil.iter_modules(rtflow.agents.__path__, "rtflow.agents.")]
    clis = [f"rtflow.cli.{name}" for name in ("scanner", "subject", "enrol") if name in COMMANDS]
    sources = [f"rtflow.sources.{name}" for name in ("watching", "receiving", "associations", "spool")]
    return [*agents, *clis, *sources, "rtflow.client", "rtflow.dicom.deidentify", "rtflow.cli.main"]


@pytest.mark.parametrize("module", modules_of_agents())
def test_agents_and_client_need_nothing_that_only_posix_has(module: str) -> None:
    probe = ROOT / "tests" / "helpers" / "elsewhere.py"
    done = subprocess.run(
        [sys.executable, probe, module],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_pins_that_differ_between_pythons_carry_markers() -> None:
    merge = runpy.run_path(str(ROOT / ".ci" / "constraints"))["merge"]
    resolved = {
        "3.11": {"a": "1", "b": "1", "c": "3"},
        "3.12": {"a": "1", "b": "2"},
        "3.13": {"a": "1", "b": "2"},
    }
    assert merge(resolved) == [
        "a==1",
        'b==1 ; python_version == "3.11"',
        'b==2 ; python_version == "3.12" or python_version == "3.13"',
        'c==3 ; python_version == "3.11"',
    ]
