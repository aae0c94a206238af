"""ANTs itself: found where it is installed, right about where a head lies, not in the way when it fails."""

import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from earlier import T1W, itk_affine, moved, t1w
from phantom import PHANTOM, oblique, rigid

from rtflow.nodes.motion.alignment import ByAnts, align
from rtflow.nodes.motion.ants import Ants, AntsError, installed
from rtflow.nodes.motion.comparison import coarser

# Near the head in the T1w image, and no axis like another: a sign that is wrong anywhere shows.
MOVE = rigid((6.0, -3.0, 9.0), (3.0, -6.0, 5.0))
SHAPE, AFFINE = oblique((48, 48, 26), (4.0, 4.2, 4.6), (10.0, -6.0, 4.0), True)


@pytest.fixture(scope="module")
def images():
    """Today's volume, where it has signal, and the T1w image on voxels of 3 mm."""
    today = PHANTOM.scan(SHAPE, AFFINE, MOVE)
    return (today, AFFINE), today > 0.2 * today.max(), coarser(*t1w(), 3.0)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Callable that puts a shell script on the path as ``antsRegistration``, which tells a version."""

    def put(script: str) -> Path:
        file = tmp_path / "bin" / "antsRegistration"
        file.parent.mkdir(exist_ok=True)
        tells = """[ "$1" = --version ] && echo "ANTs Version: v9.9" && exit 0\n"""
        file.write_text(f"#!/bin/sh\n{tells if 'VERSION' not in script else ''}{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
        return file

    return put


def worst(found):
    """How far any point of the brain is misplaced, mm."""
    apart = moved(found, moved(MOVE, PHANTOM.points)) - moved(T1W, PHANTOM.points)
    return float(np.linalg.norm(apart, axis=1).max())


def register(images, folder, limit=None):
    found = installed()
    assert found is not None
    return found.register(*images, folder=folder, limit=limit)


def test_the_command_and_the_wheel_place_a_head_alike_and_where_it_lies(
    images, ants, program, tmp_path
) -> None:
    wheel = installed()
    assert wheel is not None
    assert wheel.version.startswith("v2.")
    assert str(wheel) == f"ANTs {wheel.version}"
    by_wheel = register(images, tmp_path)
    assert worst(by_wheel) < 0.25
    assert list(tmp_path.iterdir()) == []
    # On the path, the program that the wheel has; that one goes first.
    file = program(f'VERSION=; exec {shlex.join(wheel.command)} "$@"')
    assert installed() == Ants((str(file),), wheel.version)
    np.testing.assert_array_equal(register(images, tmp_path), by_wheel)


def test_a_machine_without_ants_has_none(no_ants) -> None:
    assert installed() is None


def test_a_command_that_does_not_run_is_none(no_ants, program) -> None:
    file = program("VERSION=; echo 'libITK.so: cannot open shared object file' >&2; exit 127")
    assert installed() is None
    file.write_text("no program at all")
    assert installed() is None


def test_a_command_that_does_not_run_leaves_it_to_the_wheel(ants, program) -> None:
    program("VERSION=; exit 1")
    found = installed()
    assert found is not None
    assert found.command[0] == sys.executable


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo out of memory; exit 3", "antsRegistration ended with status 3: out of memory"),
        ("exit 0", "antsRegistration left no transform: it said nothing"),
        ("echo nonsense >found0GenericAffine.mat", "antsRegistration left no transform"),
        ("kill -9 $$", "antsRegistration ended with status -9"),
    ],
)
def test_what_fails_says_so(images, no_ants, program, tmp_path, script, says) -> None:
    program(script)
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(AntsError, match=says):
        register(images, folder)
    assert list(folder.iterdir()) == []


def test_one_that_hangs_is_killed_with_what_it_started(images, no_ants, program, tmp_path) -> None:
    started = tmp_path / "started"
    program(f"sleep 1000 & echo $! $$ >{started}.part; mv {started}.part {started}; wait")
    with pytest.raises(AntsError, match=r"antsRegistration took longer than 5 s and was killed"):
        register(images, tmp_path, limit=5.0)
    for pid in started.read_text().split():
        # One that nobody takes the status of is dead, too.
        while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


def astray(tmp_path, program) -> None:
    """A program that is 30 mm wrong."""
    wrong = tmp_path / "wrong.mat"
    sitk.WriteTransform(itk_affine(rigid((30.0, 0.0, 0.0), (0.0, 0.0, 0.0))), str(wrong))
    program(f"cp {wrong} found0GenericAffine.mat")


def test_simpleitk_takes_its_place_where_it_goes_astray(images, no_ants, program, tmp_path) -> None:
    astray(tmp_path, program)
    wrong = installed()
    assert wrong is not None
    today, _, image = images
    found = align(*today, *image, "T1w", by_ants=ByAnts(wrong, tmp_path))
    assert "(ANTs failed: ANTs went astray: mutual information fell from " in found.says
    assert found.by.startswith("SimpleITK 2.")
    assert worst(found.transform) < 0.5
    with pytest.raises(AntsError, match="ANTs went astray"):
        align(*today, *image, "T1w", by_ants=ByAnts(wrong, tmp_path, instead=False))
