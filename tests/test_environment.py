"""`make` on machines that lack something: a clear message, and no half-made environment taken for whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

OLD = """#!/bin/sh
[ "$1" = -V ] && echo "Python 3.8.20" && exit
exit 1
"""

WITHOUT_VENV = f"""#!/bin/sh
case "$*" in *ensurepip*) exit 1 ;; esac
exec {sys.executable} "$@"
"""

#: Makes environments as ever, but pip never ends in them: it writes a file, and all of `make` is stopped.
INTERRUPTED = f"""#!/bin/sh
{sys.executable} "$@" || exit 1
case "$*" in
*"-m venv"*)
  rm .venv/bin/python
  printf '%s\\n' '#!/bin/sh' 'case "$*" in *" install "*) touch .venv/half; kill -TERM 0; exit 1 ;; esac' \\
    'exec {sys.executable} "$@"' >.venv/bin/python
  chmod +x .venv/bin/python ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what `make run` reads before there is an environment."""
    for name in ("Makefile", "setup.py", "constraints.txt", ".ci"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    return tmp_path


def make_run(project: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run `make run` where `python` is the only Python on the path."""
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (project / "bin" / name).write_text(python if name == "python3" else "#!/bin/sh\nexit 127\n")
        (project / "bin" / name).chmod(0o755)
    ours = {"PYTHON", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}  # of the make that runs the tests
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        ["make", "run"],
        cwd=project,
        env=environment | {"PATH": f"{project}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def test_an_old_python_is_named_and_so_is_the_way_out(project: Path) -> None:
    done = make_run(project, OLD)
    assert done.returncode == 2
    assert "needs Python 3.11, 3.12 or 3.13; here is Python 3.8.20" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (project / ".venv").exists()


def test_a_python_without_venv_is_told_the_package_to_install(project: Path) -> None:
    done = make_run(project, WITHOUT_VENV)
    assert done.returncode == 2
    assert "apt-get install python3-venv" in done.stderr
    assert not (project / ".venv").exists()


def test_an_interrupted_environment_is_made_anew(project: Path) -> None:
    make_run(project, INTERRUPTED)
    assert (project / ".venv" / "half").exists()
    assert (project / ".venv" / ".unfinished").exists()
    assert not (project / ".venv" / ".holds").exists()
    # The next try begins with a new one: nothing of the first is left when it comes to installing.
    done = make_run(project, WITHOUT_VENV)
    assert done.returncode == 2
    assert "apt-get install python3-venv" in done.stderr


def test_a_whole_environment_is_left_as_it_is(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)
    sums = subprocess.run(
        "cat setup.py constraints.txt | cksum", shell=True, cwd=project, capture_output=True, text=True
    )
    (project / ".venv" / ".holds").write_text(f"test {project} {sums.stdout}")
    command = project / ".venv" / "bin" / "rtflow"
    command.write_text('#!/bin/sh\necho "asked for: $*"\n')
    command.chmod(0o755)
    done = make_run(project, OLD)
    assert done.stdout.splitlines() == ["asked for: run workflows/template.py"]
    # Another set of pins is another environment.
    with (project / "constraints.txt").open("a") as pins:
        pins.write("# changed\n")
    assert "python" in make_run(project, OLD).stderr.lower()


#: Tests that fail as often as the file beside them says.
FAILING = """
import pathlib
import pytest

TIMES = int(pathlib.Path("times").read_text())

@pytest.mark.parametrize("one", range({failing}))
def test_it(one):
    with open("ran", "a") as file:
        file.write(f"{{one}}\\n")
    assert pathlib.Path("ran").read_text().splitlines().count(str(one)) > TIMES

def test_beside_it():
    with open("ran", "a") as file:
        file.write("beside\\n")
"""


@pytest.mark.parametrize(
    ("failing", "times", "passes", "runs"),
    [(2, 0, True, 1), (2, 1, True, 2), (2, 2, False, 2), (6, 1, False, 1)],
)
def test_what_failed_beside_other_tests_has_to_pass_alone(tmp_path, failing, times, passes, runs) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(FAILING.format(failing=failing))
    (tmp_path / "times").write_text(str(times))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [".ci/tests", "-n", "2", "--dist", "loadfile", "-p", "no:dash"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == passes, done
    assert ("run once more, alone" in done.stderr) == (runs == 2)
    ran = (tmp_path / "ran").read_text().splitlines()
    assert sorted(ran) == sorted([*map(str, range(failing))] * runs + ["beside"])
