"""The decoding workflow on a real scan of six categories: one block of each, its images logged one by one."""

from pathlib import Path

import pydicom
import pytest

from rtflow.design import read_events, write_events
from rtflow.documents import Event
from rtflow.trials import Design, Trial

TR, LAG = 2.0, 4.0


def says(ran, name: str) -> list[str]:
    return [d.data["says"] for d in ran.documents if isinstance(d, Event) and d.name == name]


@pytest.fixture(scope="module")
def forrest(series) -> tuple[Path, Design]:
    folder = series("philips_classic_studyforrest_half1")
    return folder / "dicom", read_events(folder / "events.tsv")


def numbers(folder: Path) -> dict[Path, int]:
    """Volume of each slice, by its header."""
    return {
        path: int(pydicom.dcmread(path, stop_before_pixels=True).TemporalPositionIdentifier)
        for path in folder.iterdir()
    }


def halves(forrest, folder: Path, train: range, test: range) -> tuple[Path, Path]:
    """Real run without what is not to be trained on, and events that leave the volumes to be tested.

    Places are those of a volume within its block, from 0.
    """
    dicom, events = forrest
    blocks = [trial for trial in events.joined(1.0).trials if trial.onset < 150.0]
    first = [int(block.onset / TR + 0.01) + 1 + int(LAG / TR) for block in blocks]
    left_out = {start + place for start in first for place in range(8) if place not in train}
    link(dicom, folder / "train", lambda volume: volume not in left_out)
    tested = []
    for block in blocks:
        starts = [0.0, TR * test.start, TR * test.stop]
        ends = [*starts[1:], block.duration]
        for name, start, end in zip(("early", block.trial_type, "late"), starts, ends, strict=True):
            if end - start > 0.5:
                tested.append(Trial(block.onset + start, end - start, name))
    write_events(Design(tuple(tested)), folder / "tested.tsv")
    return folder / "train", folder / "tested.tsv"


def link(dicom: Path, folder: Path, wanted) -> None:
    folder.mkdir()
    for path, volume in numbers(dicom).items():
        if wanted(volume):
            (folder / path.name).symlink_to(path)


# The first volumes of each block to train on, the last to decode, or the other way round; none between.
# That is optimistic: the two are of one block, and share whatever is slow.
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("train", "test"), [(range(3), range(5, 8)), (range(5, 8), range(3))], ids=["early", "late"]
)
def test_a_real_run_with_one_block_a_condition(play, forrest, tmp_path, train, test) -> None:
    dicom, _ = forrest
    volumes, events = halves(forrest, tmp_path, train, test)
    file = tmp_path / "half.decoder"
    trained = play(
        "decoding",
        tmp_path / "a",
        *(f"source=folder:{volumes}?existing=true", f"decode.save={file}"),
        f"decode.events={dicom.parent / 'events.tsv'}",
    )
    assert trained.stop.status == "completed"
    assert trained.stop.counts["ok"] == 78 - 6 * 5
    assert [line[:22] for line in says(trained, "trials_left_out")] == ["6 of 12 trials are lef"]
    given = (f"decode.load={file}", f"decode.events={events}")
    found = {}
    for together in ("false", "true"):
        source = f"source=folder:{dicom}?existing=true"
        decoded = play("decoding", tmp_path / "b", source, *given, f"decode.accumulate={together}")
        found[together] = decoded.stop.values["score.accuracy"]
        assert decoded.stop.values["score.volumes"] == 18
    print(f"trained on {train}: single volumes {found['false']:.3f}, trials {found['true']:.3f}")
    assert found["false"] > 0.75
    assert found["true"] > 0.9
    if train.start:
        return
    # A scan that begins with number 40.
    link(dicom, tmp_path / "part", lambda volume: volume >= 40)
    part = play("decoding", tmp_path / "c", f"source=folder:{tmp_path / 'part'}?existing=true&idle=1", *given)
    assert (part.stop.counts["ok"], part.stop.counts["missing"]) == (39, 39)
    assert len(says(part, "trials_left_out")) == 1
    shown = set(part.values("labels.trial_type").values())
    assert shown == {"rest", "early", "body", "house", "object", "scramble"}
    assert part.stop.values["score.accuracy"] > 0.9
