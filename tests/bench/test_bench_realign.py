"""The benchmark of motion correction measures what it says."""

import importlib.metadata

import numpy as np
import pytest
from typer.testing import CliRunner

from rtflow.bench import realign
from rtflow.bench.realign_peers import Rtspm, available
from rtflow.bench.realign_truth import DAMAGES, make_truth
from rtflow.cli.main import app
from rtflow.errors import UsageError

SMALL = ((44, 44, 24), (5.0, 5.0, 5.5))  # python-rtspm wants as many columns as rows


@pytest.fixture(scope="module")
def truth():
    return make_truth(*SMALL, volumes=2)


def test_every_method_is_measured_on_the_same_truth(truth, tmp_path):
    ours = realign.Ours(truth.reference, truth.affine, tmp_path)
    peers = {name: peer(truth.reference, truth.affine) for name, peer in available().items()}
    found = realign.measure(truth, {"rtflow": ours, **peers}, 2)
    assert set(found) == {"rtflow", *peers}
    for name, (seconds, errors) in found.items():
        assert len(seconds) == len(errors) == 2, name
        assert min(seconds) > 0.0, name
        # Each moved volume by volume, so a transform of another convention would be farther off than this.
        moved = [truth.phantom.worst(transform, np.eye(4)) for transform in truth.transforms]
        assert np.less(errors, np.multiply(0.5, moved)).all(), name


def test_damage_is_done_to_volumes(truth):
    for damage, _ in DAMAGES.values():
        apart = truth.volume(0, damage).astype(float) - truth.volume(0)
        assert np.abs(apart).max() > 50.0


def test_figures_and_bars_are_of_each_size(monkeypatch, tmp_path):
    monkeypatch.setattr(realign, "SIZES", {"M": SMALL})
    monkeypatch.setattr(realign, "available", dict)
    figures, bars = realign.of_size("M", tmp_path, volumes=2, damaged=1)
    assert {"M rtflow:median_ms", "M rtflow:error_mm", "spike block:error_mm"} <= set(figures)
    assert {"first_over_median_M", "spike block:error_mm"} <= set(bars)
    assert not any("rtspm" in name for name in figures)


def test_the_report_names_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(realign, "of_size", lambda size, folder: ({f"{size} rtflow:median_ms": 1.0}, {}))
    monkeypatch.setattr(realign, "available", lambda: {"python-rtspm": Rtspm})
    report = realign.run()
    assert set(report.figures) == {f"{size} rtflow:median_ms" for size in "SML"}
    assert str(report.machine["not installed"]).startswith("SimpleITK")
    assert {"numba", "python-rtspm"} <= set(report.versions)
    assert "SimpleITK" not in report.versions


def test_without_its_peer_it_is_refused(monkeypatch):
    """The package is hidden from Python: a look at the machine, no other way to say that it is not there."""
    version = importlib.metadata.version

    def hidden(name):
        if name == "python-rtspm":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", hidden)
    done = CliRunner().invoke(app, ["bench", "realign", "--json"])
    assert done.exit_code == 2
    assert "pip install python-rtspm" in done.output
    with pytest.raises(UsageError, match="ratios to python-rtspm"):
        realign.run()
