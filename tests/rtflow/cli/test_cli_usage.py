"""What is refused, and how: one line on stderr, exit status 2, no traceback, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rtflow.cli.main import app
from rtflow.cli.shipped import shipped_workflows, workflow_path
from rtflow.errors import WorkflowError

HEAVY = (
    *("nipype", "numpy", "scipy", "nibabel", "nilearn", "sklearn", "pydicom", "pandas", "networkx"),
    *("cryptography", "argon2", "aiohttp"),
)

GOOD = """
from nipype import Node, Workflow
from rtflow.nodes import DicomToBids, ScannerInput
from rtflow.settings import RunSettings

class Settings(RunSettings):
    gain: float = 1.0

def build(settings):
    flow = Workflow(name="good")
    scanner = Node(ScannerInput(uri=settings.source), name="scanner")
    flow.connect(scanner, "frame", Node(DicomToBids(), name="convert"), "frame")
    return flow
"""

NO_SOURCE = """
from nipype import Node, Workflow
from rtflow.nodes import DicomToBids

def build(settings):
    flow = Workflow(name="none")
    flow.add_nodes([Node(DicomToBids(), name="convert")])
    return flow
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RTFLOW_DEBUG", raising=False)

    def call_(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return call_


def refused(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("rtflow: ")
    return lines[0].removeprefix("rtflow: ")


@pytest.mark.parametrize("command", ["run", "graph"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "has no function build(settings)"),
        ("def build(settings):\n    return 3\n", "build() must return a nipype.Workflow, got int"),
        ("def build(settings):\n    raise KeyError('mask')\n", "KeyError: 'mask' (line 2)"),
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("def build(settings:\n", "SyntaxError"),
        ("Settings = int\ndef build(settings): ...\n", "Settings must derive from"),
        (NO_SOURCE, "source"),
    ],
    ids=["no-build", "no-workflow", "raises", "import", "syntax", "settings", "no-source"],
)
def test_a_workflow_file_that_cannot_be_run(call, tmp_path: Path, command: str, text: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    assert says in refused(call(command, "mine.py"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]


@pytest.mark.parametrize("command", ["run", "graph"])
def test_a_workflow_file_that_is_not_there(call, tmp_path: Path, command: str) -> None:
    message = refused(call(command, "mine.py"))
    assert "mine.py does not exist" in message
    assert "roi_feedback" in message
    assert "template" in message
    assert "is a folder" in refused(call(command, str(tmp_path)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--source", "fodler:in"],
            "--source fodler:in: source 'fodler:in' is of no known kind; did you mean",
        ),
        (["--source", "folder:in", "--subject", "02"], "in does not exist"),
        (["--set", "gian=2"], "--set gian=2: unknown setting 'gian'; did you mean 'gain'?"),
        (["--set", "gain=high"], '--set gain=high: gain: expected a number, got "high"'),
        (["--speed", "fast"], "--speed fast: source.speed: expected a number above 0 or 'max'"),
        (["--speed", "0"], "--speed 0: source.speed: expected a number above 0 or 'max'"),
        (["--source", "folder:in", "--speed", "2"], "--speed 2: unknown setting 'source.speed'"),
        (["-c", "other.toml"], "settings file other.toml does not exist"),
        (["-c", "wrong.toml"], 'wrong.toml: gain: expected a number, got "high"'),
        (["--out", "mine.py/out"], "mine.py is a file; choose a folder"),
        (["--out", "mine.py"], "mine.py cannot be written: it is a file; choose a folder"),
        (["--resume", "in"], "--resume takes all else from the run's folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_that_is_asked_for_wrongly(call, tmp_path: Path, options: list[str], says: str) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "wrong.toml").write_text("gain = 'high'\n")
    assert says in refused(call("run", "mine.py", *options))
    assert not (tmp_path / "rtflow-out").exists()


def test_a_source_folder_without_dicom(call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no DICOM here")
    message = refused(call("run", "mine.py", "--source", "folder:notes?wait=0", "--subject", "02"))
    assert str(tmp_path / "notes") in message


def test_the_settings_beside_a_workflow_are_its_own(call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "mine.toml").write_text("gain = 'high'\n")
    assert "mine.toml: gain: expected a number" in refused(call("graph", "mine.py"))
    (tmp_path / "other.toml").write_text("gain = 2\n")
    assert call("graph", "mine.py", "-c", "other.toml").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "no workflow was given"),
        (["run", "--resume", "nowhere"], "nowhere does not exist"),
        (["run", "--resume", "."], "holds no run"),
        (["replay", "nowhere"], "nowhere does not exist"),
        (["replay", "."], "neither a BIDS data set nor a recorded run"),
        (["replay", ".", "--speed", "slow"], "--speed: expected a number above 0 or 'max', got 'slow'"),
        (["new", "mine", "--workflow", "tmplate"], "did you mean 'template'?"),
        (["bench", "engin"], "did you mean 'engine'?"),
    ],
    ids=" ".join,
)
def test_a_command_that_is_asked_for_wrongly(call, arguments: list[str], says: str) -> None:
    assert says in refused(call(*arguments))


@pytest.mark.parametrize(
    "arguments", [["rnu"], ["run", "--nope"], ["replay"], ["run", "a.py", "b.py"], ["graph"]]
)
def test_an_option_that_there_is_not(call, arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_error_that_nobody_foresaw_is_a_line_and_a_file(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "mine.py").write_text(
        "from rtflow.settings import RunSettings\n"
        "class Settings(RunSettings):\n"
        "    def __post_init__(self):\n"
        "        raise RuntimeError('out of\\nthe blue')\n"
        "def build(settings): ...\n"
    )
    result = call("run", "mine.py")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "unexpected RuntimeError: out of the blue" in result.stderr
    (kept,) = tmp_path.glob("*.traceback")
    assert str(kept) in result.stderr
    assert "__post_init__" in kept.read_text()

    monkeypatch.setenv("RTFLOW_DEBUG", "1")
    assert "Traceback" in call("run", "mine.py").stderr


def test_version_and_help(call) -> None:
    import rtflow

    assert call("--version").output == f"rtflow {rtflow.__version__}\n"
    for arguments in ([], ["run"], ["replay"], ["new"], ["graph"], ["bench"]):
        result = call(*arguments, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output
        assert not arguments or "Example" in result.output


def test_help_imports_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom rtflow.cli.main import main\nsys.argv = ['rtflow', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = done.stderr.split()
    assert "rtflow.cli.run" in modules
    assert not {module.partition(".")[0] for module in modules} & set(HEAVY)


def test_shipped_workflows_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = shipped_workflows()
    assert {"template", "roi_feedback"} <= set(shipped)
    for given in ("template", "template.py", "workflows/template.py"):
        assert workflow_path(Path(given)) == shipped["template"]
    with pytest.raises(WorkflowError):
        workflow_path(Path("elsewhere/template.py"))
    (tmp_path / "template.py").write_text("mine = True")
    assert workflow_path(Path("template.py")) == Path("template.py")


def test_a_new_experiment_never_overwrites_an_old_one(call, tmp_path: Path) -> None:
    assert call("new", "mine").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["template.py", "template.toml"]
    for name in ("template.py", "template.toml"):
        assert (tmp_path / "mine" / name).read_bytes() == (
            shipped_workflows()["template"].with_name(name).read_bytes()
        )
    (tmp_path / "mine" / "template.py").unlink()
    (tmp_path / "mine" / "template.toml").write_text("mine")
    assert "template.toml is there already" in refused(call("new", "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["template.toml"]
    assert (tmp_path / "mine" / "template.toml").read_text() == "mine"


def test_a_new_experiment_that_cannot_be_written(call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(call("new", "file/mine"))


def test_the_graph_of_every_shipped_workflow(call, tmp_path: Path) -> None:
    for name in shipped_workflows():
        result = call("graph", name, "--svg", f"{name}.svg")
        assert result.exit_code == 0, result.output
        for word in ("for every volume", "scanner", "ScannerInput"):
            assert word in result.output
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg")
    assert "cannot be written" in call("graph", "template", "--svg", "no/where.svg").stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("te", ["template"]),
        ("mine", ["mine/"]),
        ("mine/", ["mine/deep/", "mine/one.py"]),
        ("./mine/o", ["./mine/one.py"]),
        ("nowhere/", []),
    ],
)
def test_a_shell_completes_names_of_workflows_and_python_files(
    typed: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for name in ("one.py", "one.toml", ".two.py"):
        (tmp_path / "mine" / name).touch()
    monkeypatch.chdir(tmp_path)
    asks = {"_RTFLOW_COMPLETE": "complete_bash", "COMP_WORDS": f"rtflow run {typed}", "COMP_CWORD": "2"}
    told = CliRunner().invoke(app, env=asks, prog_name="rtflow").output
    assert told.split() == offered
