"""Realign on real series: a quiet run, one against SPM, and a head that turned too far."""

from functools import cache

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.nodes.motion.realign import Realign
from rtflow.nodes.motion.rigid import PARAMETERS, displacement


def started(context):
    node = Realign()
    node.start_run(context)
    return node


def spm_transform(six):
    """RAS+ mm, reference to moved volume, of what SPM estimates: moved to reference, x and z left-handed."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("XYZ", six[3:] * [-1, 1, -1]).as_matrix()
    matrix[:3, 3] = six[:3]
    return np.linalg.inv(matrix)


def only_volume(path):
    item = read_object(path.read_bytes())
    return to_incrementals([item], item.instance.volume)[0]


@pytest.mark.realdata
def test_a_real_run_agrees_with_spm(series, make_context, call):
    folder = series("siemens_Trio_mosaic_opennft155")
    theirs = loadmat(folder / "mc_matlab_dcm.mat")["mc_series_matlab"]
    files = sorted((folder / "dicom").glob("*.dcm"))
    assert len(files) == len(theirs) == 155
    node = started(make_context())
    apart, moved, doubts = [], [], []
    for index in range(155):
        incremental = only_volume(files[index])
        found = call(node, incremental.volume, incremental=incremental)
        doubts += node.take_doubts()
        reference = node.snapshot().reference
        voxels = reference.levels[0].points
        points = (reference.affine[:3, :3] @ voxels + reference.affine[:3, 3:]).T
        spm = spm_transform(theirs[index])
        apart.append(np.median(displacement(found["transform"], spm, points)))
        moved.append(np.median(displacement(np.eye(4), spm, points)))
    assert doubts == []
    assert np.median(apart) < 0.08
    assert np.max(apart) < 0.12
    # The head did move by more than that.
    assert np.median(moved) > 2 * np.median(apart)


@cache
def read_series(folder):
    volumes = [only_volume(path) for path in sorted((folder / "dicom").glob("*.dcm"))]
    return sorted(volumes, key=lambda item: item.volume)


@pytest.mark.realdata
def test_a_quiet_real_run_is_trusted(series, make_context, call):
    node = started(make_context())
    for incremental in read_series(series("siemens_E11_mosaic_rtcloud")):
        found = call(node, incremental.volume, incremental=incremental)
        assert node.take_doubts() == []
        assert sum(abs(found[name]) for name in PARAMETERS[:3]) < 1.0


@pytest.mark.realdata
def test_a_real_head_that_turned_too_far_is_not_trusted(series, make_context, call):
    # Between volumes 1 and 2 of this series the participant turned the head as far as the coil lets it.
    volumes = read_series(series("siemens_D13_mosaic_ep2dInt"))
    node = started(make_context("a"))
    call(node, 1, incremental=volumes[0])
    for incremental in volumes[1:]:
        assert not set(PARAMETERS) & set(call(node, incremental.volume, incremental=incremental))
        assert node.take_doubts() != []
    node = started(make_context("b"))
    for incremental in volumes[1:]:
        found = call(node, incremental.volume, incremental=incremental)
        assert node.take_doubts() == []
    assert abs(found["rot_z"]) < 0.05
