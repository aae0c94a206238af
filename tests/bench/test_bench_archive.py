"""The benchmark of appending measures what it says."""

from pathlib import Path

import nibabel as nib
import numpy as np

from rtflow.bench import archive

SHAPE = (8, 7, 6)


def test_both_ways_append_the_same_run(tmp_path: Path) -> None:
    lengths = (3, 8)
    for way, where in ((archive.grown, tmp_path / "ours"), (archive.rewritten, tmp_path / "theirs")):
        where.mkdir()
        taken = way(where, lengths, 3, SHAPE)
        assert len(taken) == 2
        assert min(taken) > 0
    ours = nib.load(tmp_path / "ours" / "sub-01" / "func" / "sub-01_task-feedback_run-1_bold.nii")
    theirs = nib.load(tmp_path / "theirs" / "run.nii")
    np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
    assert ours.shape == (*SHAPE, 9)


def test_the_report_has_its_bar(monkeypatch) -> None:
    monkeypatch.setattr(archive, "_PEER_LENGTHS", (3, 5))
    report = archive.run(SHAPE, (3, 60))
    assert list(report.bars) == ["append_at_60_over_3"]
    assert report.bars["append_at_60_over_3"].limit == 1.5
    assert {"append_at_3_ms", "append_at_60_ms", "rewrite_at_5_ms", "rewrite_ratio"} <= report.figures.keys()
