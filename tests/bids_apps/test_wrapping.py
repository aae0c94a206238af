"""From an image to the file of an app: the examples, one in fMRIPrep's style, and images that are no good."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containers import Podman
from rtflow.bids_apps.descriptor import Worker, read_descriptor, write_descriptor
from rtflow.bids_apps.images import find_image, repository
from rtflow.bids_apps.runtime import Runtime, find_runtime
from rtflow.bids_apps.wrapping import wrap
from rtflow.errors import AppError, UsageError

PODMAN = Runtime("podman")


def test_the_example_in_python(podman: Podman, tmp_path: Path) -> None:
    tag = podman.image("example-app")
    wrapped = wrap(tag, find_runtime("podman"), name="example-app")
    app = wrapped.descriptor
    assert app.image == podman.pinned("example-app")
    assert (app.tag, app.version, app.name) == (tag, "1.0", "example-app")
    kinds = {name: (option.flag, option.kind) for name, option in app.options.items()}
    assert kinds["participant_label"] == ("--participant_label", "list")
    assert kinds["threshold"] == ("--threshold", "number")
    assert kinds["skip_bids_validator"] == ("--skip_bids_validator", "switch")
    assert app.options["space"].choices == ("native", "centred")
    assert {option.origin for option in app.options.values()} == {"help"}
    outputs = {"mean": "number", "voxels": "number"}
    assert app.worker == Worker(command=("python3", "/app/run.py", "--worker"), warm=True, outputs=outputs)  # type: ignore[arg-type]
    assert wrapped.left_out == ()
    assert wrapped.sources[:2] == ("labels: a worker", "--bids-exec-spec: nothing")
    write_descriptor(tmp_path / "apps" / "example-app.toml", app)
    assert read_descriptor(tmp_path / "apps" / "example-app.toml") == app


def test_the_example_in_shell(podman: Podman) -> None:
    app = wrap(podman.image("example-app-shell"), PODMAN).descriptor
    assert app.name == "example-app-shell"
    assert app.levels == ("participant", "group")
    assert {name: option.kind for name, option in app.options.items()} == {
        "participant_label": "list",
        "task": "text",
        "skip_bids_validator": "switch",
    }
    assert app.worker is None


def test_an_app_in_the_style_of_fmriprep(podman: Podman) -> None:
    app = wrap(podman.image("prep-app"), PODMAN).descriptor
    assert app.options["participant_label"].flag == "--participant-label"
    assert app.options["skip_bids_validation"].flag == "--skip_bids_validation"
    assert app.options["skip_bids_validation"].kind == "switch"
    assert app.levels == ("participant",)


@pytest.fixture
def image_of(podman: Podman, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """From a shell script that is the entry point, and labels, to the tag of an image of it."""

    def make(script: str, name: str = "made", **labels: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "app").write_text(script)
        (folder / "app").chmod(0o755)
        lines = [f"FROM {podman.image('busybox')}", "COPY app /app", 'ENTRYPOINT ["/app"]']
        lines += [f"LABEL {key.replace('__', '.')}='{value}'" for key, value in labels.items()]
        (folder / "Containerfile").write_text("\n".join(lines) + "\n")
        tag = f"localhost/rtflow-tests/{name}:{tmp_path.name}".lower()
        podman("build", "--quiet", "--tag", tag, str(folder))
        tags.append(tag)
        return tag

    tags: list[str] = []
    yield make
    podman("rmi", "--force", *tags, check=False)


BOUTIQUES = {
    "tool-version": "3.1",
    "inputs": [
        {"id": "who", "type": "String", "list": True, "command-line-flag": "--participant-label"},
        {"id": "level", "type": "String", "value-choices": ["participant", "group"]},
    ],
}


def test_where_an_option_was_found_is_told(image_of: Callable[..., str], tmp_path: Path) -> None:
    spec = json.dumps(BOUTIQUES)
    labelled = json.dumps({"inputs": [{"id": "a", "type": "Flag", "command-line-flag": "--labelled"}]})
    tag = image_of(
        f"""#!/bin/sh
if [ "$1" = --bids-exec-spec ]; then echo '{spec}'; exit 0; fi
printf 'usage: app\\n\\noptions:\\n  --participant-label, --participant_label L\\n  --late N  help\\n' >&2
exit 2
""",
        org__rtflow__boutiques=labelled,
    )
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"inputs": [{"id": "g", "type": "Number", "command-line-flag": "--given"}]}))
    wrapped = wrap(tag, PODMAN, boutiques=given)
    assert {name: option.origin for name, option in wrapped.descriptor.options.items()} == {
        "given": "boutiques",
        "labelled": "labels",
        "participant_label": "bids-exec-spec",
        "late": "help",
    }
    assert wrapped.descriptor.options["participant_label"].kind == "list"
    assert (wrapped.descriptor.version, wrapped.descriptor.levels) == ("3.1", ("participant", "group"))


def test_an_app_that_hangs_is_ended(image_of: Callable[..., str], podman: Podman) -> None:
    wrapped = wrap(image_of("#!/bin/sh\nsleep 1000\n"), PODMAN, seconds=1.0, levels=["group"])
    assert wrapped.descriptor.options == {}
    assert wrapped.descriptor.levels == ("group",)
    assert wrapped.sources[1:] == (
        "--bids-exec-spec: no answer within 1 s",
        "--help: no answer within 1 s",
    )
    assert [name for name in podman.running() if name.startswith("rtflow-ask")] == []


def test_an_app_that_never_stops_talking_is_ended(image_of: Callable[..., str], podman: Podman) -> None:
    assert wrap(image_of("#!/bin/sh\nyes\n"), PODMAN, seconds=1.0).descriptor.options == {}
    assert [name for name in podman.running() if name.startswith("rtflow-ask")] == []


@pytest.mark.usefixtures("networked")
def test_it_is_asked_without_network_and_rights(image_of: Callable[..., str]) -> None:
    tag = image_of(
        """#!/bin/sh
[ "$1" = --help ] || exit 1
say() { echo "  --$1"; }
echo usage: app; echo; echo options:
touch /written 2>/dev/null && say written
touch /tmp/there && say tmp
grep -q '^CapEff:.*0000000000000000$' /proc/self/status && say powerless
[ "$(ls /sys/class/net)" = lo ] && say alone
"""
    )
    assert set(wrap(tag, PODMAN).descriptor.options) == {"tmp", "powerless", "alone"}


def test_an_image_that_cannot_be_run(image_of: Callable[..., str]) -> None:
    with pytest.raises(AppError, match="cannot be run") as caught:
        wrap(image_of("#!/no/such/interpreter\n"), PODMAN)
    assert caught.value.kind == "image"


def test_an_image_that_is_nowhere(podman: Podman) -> None:
    podman.image("example-app-shell")
    with pytest.raises(AppError, match="is not here and cannot be fetched") as caught:
        wrap("localhost/rtflow-tests/exmple-app-shell:1", PODMAN)
    assert caught.value.kind == "image"
    said = str(caught.value)
    assert re.search("did you mean localhost/.*example-app-shell:", said)
    assert "is built first: podman build -t NAME FOLDER" in said


@pytest.mark.parametrize(
    ("image", "name", "said"),
    [("", "", "no image was given"), ("app", "a/b", "--name: name 'a/b': expected")],
)
def test_what_can_have_no_file_is_refused_before_anything_runs(image: str, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        wrap(image, Runtime("docker", "not there"), name=name)


def test_a_tag_whose_digest_is_not_known_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "apptainer"
    help_text = "usage: app\\n\\noptions:\\n  --task TASK  which\\n"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *--help) printf "{help_text}" ;; *) exit 1 ;; esac\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match="is a tag, which may be another image tomorrow"):
        wrap("lab/app:1", Runtime("apptainer"))
    app = wrap("lab/app:1", Runtime("apptainer"), allow_tag=True).descriptor
    assert (app.image, app.tag, list(app.options)) == ("docker://lab/app:1", "lab/app:1", ["task"])
    pinned = "docker://lab/app@sha256:" + 64 * "a"
    assert wrap(pinned, Runtime("apptainer")).descriptor.image == pinned


@pytest.mark.parametrize(
    ("asked", "known", "pinned"),
    [
        ("docker.io/nipreps/mriqc:24.0.2", "nipreps/mriqc", "nipreps/mriqc"),
        ("busybox", "docker.io/library/busybox", "docker.io/library/busybox"),
        ("lab/app:1", "quay.io/lab/app", "quay.io/lab/app"),
        ("lab/app:1", "quay.io/other/app", "sha256:1"),
    ],
)
def test_an_image_keeps_the_digest_that_others_can_fetch_it_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, known: str, pinned: str
) -> None:
    """Docker knows an image of its own registry by a shorter name than it was asked for by."""
    digest = "sha256:" + 64 * "a"
    about = json.dumps([{"Id": "sha256:1", "RepoDigests": [f"{known}@{digest}"], "Config": {}}])
    fake = tmp_path / "docker"
    fake.write_text(f"#!/bin/sh\necho '{about}'\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = find_image(Runtime("docker"), asked).pinned
    assert found == (pinned if pinned.startswith("sha256") else f"{pinned}@{digest}")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("app", "app"),
        ("app:1.0", "app"),
        ("host:5000/app", "host:5000/app"),
        ("host:5000/lab/app:1.0-x", "host:5000/lab/app"),
        ("docker://lab/app@sha256:" + 64 * "0", "lab/app"),
    ],
)
def test_an_image_without_its_tag(image: str, name: str) -> None:
    assert repository(image) == name
