"""The file of a BIDS App: written, read, and refused."""

from pathlib import Path

import pytest

from rtflow.bids_apps.descriptor import (
    AppLimits,
    Descriptor,
    Mount,
    Native,
    Option,
    Relaxed,
    Worker,
    read_descriptor,
    write_descriptor,
)
from rtflow.errors import SettingsError

DIGEST = "sha256:" + 64 * "a"


def full() -> Descriptor:
    return Descriptor(
        name="example-app",
        image=f"localhost/example-app@{DIGEST}",
        tag="localhost/example-app:1.0",
        wrapped="2026-11-28",
        version="1.0",
        levels=("participant", "group"),
        command=("python", "/app/run.py"),
        options={
            "participant_label": Option(
                flag="--participant-label", kind="list", help='Wen "man" will\n\x7fÄ😀', origin="help"
            ),
            "mode": Option(flag="-m", kind="choice", choices=("a", "b"), default="a", required=True),
            "level": Option(flag="--level", kind="whole", default=3),
        },
        mounts={"licence": Mount(inside="/licence.txt", required=False, help="Of the app")},
        limits=AppLimits(memory="2g", cpus=1.5, seconds=3600),
        relaxed=Relaxed(network=True),
        worker=Worker(command=("python", "/app/run.py", "--worker")),
        native=Native(command=("/opt/app/run",)),
    )


@pytest.mark.parametrize("descriptor", [full(), Descriptor(name="x", image=f"x@{DIGEST}")])
def test_what_is_written_is_read_again(tmp_path: Path, descriptor: Descriptor) -> None:
    path = tmp_path / "apps" / "a.toml"
    write_descriptor(path, descriptor)
    assert read_descriptor(path) == descriptor


def test_the_file_is_small_and_its_name_is_the_apps(tmp_path: Path) -> None:
    path = tmp_path / "mask.toml"
    path.write_text(f'image = "x@{DIGEST}"\n')
    found = read_descriptor(path)
    assert found.name == "mask"
    assert found.digest == DIGEST
    write_descriptor(path, found)
    assert path.read_text() == f'name = "mask"\nimage = "x@{DIGEST}"\nlevels = ["participant"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("privileged = true", "unknown setting 'privileged'"),
        ("[relaxed]\nprivileged = true", "unknown setting 'relaxed.privileged'"),
        ('[options.a]\nkind = "text"', "options.a: setting 'flag' has no value; give it in the TOML file"),
        ('[options.a]\nflag = "--a; rm"', "options.a.flag: expected something like --a, got '--a; rm'"),
        ('[options."a b"]\nflag = "--a"', "options.a b: expected letters"),
        ('[options.a]\nflag = "--a"\nkind = "choice"', "a choice needs its choices"),
        ('[options.a]\nflag = "--a"\nkind = "word"', "options.a: kind: expected"),
        ('[mounts.a]\ninside = "licence"', "expected a path from the root"),
        ('[mounts.a]\ninside = "/data/x"', "are the data set's"),
        ('[mounts.a]\ninside = "/a:/etc"', "expected a path from the root"),
        ('[limits]\nmemory = "lots"', "limits.memory: expected something like 2g"),
        ("[limits]\nseconds = 0", "limits.seconds: expected a number above 0"),
        ('name = "../x"', "it names a folder"),
        ("levels = []", "levels is empty"),
        ("[worker]\ncommand = []", "worker.command"),
        ("[mounts]\na = 1", "mounts.a: expected a table, got 1"),
        ("options = 1", "options: expected a table, got 1"),
        ("= 1", "is not valid TOML"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.toml"
    head = "" if text.startswith("=") else f'image = "x@{DIGEST}"\n'
    path.write_text(head + text + "\n")
    with pytest.raises(SettingsError) as refused:
        read_descriptor(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert "--set" not in str(refused.value)


def test_an_app_needs_an_image_or_a_command_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('tag = "x:1"\n')
    with pytest.raises(SettingsError, match="nothing to run"):
        read_descriptor(path)
    path.write_text('[native]\ncommand = ["mask"]\n')
    assert read_descriptor(path).digest == ""


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="bids-app wrap"):
        read_descriptor(tmp_path / "a.toml")
