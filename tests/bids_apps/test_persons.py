"""Outputs of a person are theirs: by docker, whose daemon is root's, and by podman without any root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from containers import Podman, configure
from rtflow.bids_apps import watcher
from rtflow.bids_apps.descriptor import Descriptor, write_descriptor

ROOT = Path(__file__).resolve().parents[2]
PERSON = 1234
HARDENED = "for place in $1/x /x /etc/x; do touch $place 2>/dev/null && exit 1; done; "

#: Root becomes the person when all of rtflow is loaded: it may be in a folder that is closed to others.
PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from rtflow.bids_apps import watcher
from rtflow.bids_apps.descriptor import read_descriptor
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import find_runtime

person, name, app, data, out, sys.executable, watcher.__file__, image = sys.argv[1:]
descriptor, person = read_descriptor(Path(app)), int(person)
os.setgroups([])
os.setresgid(person, person, person)
os.setresuid(person, person, person)
os.chdir(Path(out).parent)
if name == "podman":
    subprocess.run(["podman", "load", "--quiet", "--input", image], check=True, stdout=subprocess.DEVNULL)
runtime = find_runtime(name)
try:
    run_app(AppRun(descriptor=descriptor, runtime=runtime, bids_dir=Path(data), out=Path(out)))
    print(runtime.rootless)
finally:
    if name == "podman":  # which leaves a process that holds the person's namespace
        subprocess.run(["podman", "system", "migrate"], check=True)
"""

#: The person is known on this machine, and has numbers to give to users inside, for one process alone.
AS_KNOWN = """
for name in passwd group subuid subgid; do mount --bind "$1/etc/$name" "/etc/$name"; done
shift; exec "$@"
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_outputs_of_a_person_are_theirs(
    podman: Podman, request: pytest.FixtureRequest, data_set: Path, open_folder: Path, runtime: str
) -> None:
    if runtime == "docker":
        request.getfixturevalue("docker")
    home = open_folder / "home"
    shutil.copytree(data_set, open_folder / "bids")
    for folder in (home, home / "run"):
        folder.mkdir()
    tag = podman.image("example-app-shell")
    app = Descriptor(
        name="theirs",
        image=f"sha256:{podman('image', 'inspect', '--format', '{{.Id}}', tag)}",
        command=("/bin/sh", "-c", f"{HARDENED} id -u >$2/user; id -g >>$2/user; mkdir -p $2/a/b", "theirs"),
    )
    write_descriptor(open_folder / "theirs.toml", app)
    shutil.copy(watcher.__file__, open_folder / "watcher.py")
    podman("save", "--quiet", "--output", str(open_folder / "image.tar"), tag)
    (open_folder / "etc").mkdir()
    (open_folder / "etc" / "passwd").write_text(f"person:x:{PERSON}:{PERSON}::{home}:/bin/sh\n")
    (open_folder / "etc" / "group").write_text(f"person:x:{PERSON}:\n")
    for name in ("subuid", "subgid"):
        (open_folder / "etc" / name).write_text("person:200000:65536\n")
    configure(home)
    for path in (open_folder / "theirs.toml", open_folder / "watcher.py", open_folder / "image.tar"):
        path.chmod(0o644)
    for path in (home, *home.rglob("*")):
        os.chown(path, PERSON, PERSON)
    (home / "run").chmod(0o700)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
    }
    if runtime == "podman":
        environment |= Podman(home).variables
    out = home / "derivatives"
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(PERSON),
        runtime,
        open_folder / "theirs.toml",
        open_folder / "bids",
        out,
    ]
    known = ["unshare", "--mount", "/bin/sh", "-ec", AS_KNOWN, "sh", open_folder]
    done = subprocess.run(
        [*known, *command, _interpreter(), open_folder / "watcher.py", open_folder / "image.tar"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(runtime == "podman")]
    assert (out / "theirs" / "user").read_text().split() == [str(PERSON), str(PERSON)]
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in out.rglob("*")}
    assert owners == {(PERSON, PERSON)}


def _interpreter() -> str:
    """A Python that a person may run: the one of the tests may be in root's home folder."""
    for program in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run([program, "-c", ""], user=PERSON, capture_output=True, check=False)
            if not done.returncode:
                return program
    pytest.skip("no Python here that is open to others than root")
