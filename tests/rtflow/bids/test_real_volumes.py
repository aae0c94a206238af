"""Volumes of real scanners: their metadata are taken as they are, and what is written of them is BIDS."""

from collections import defaultdict

import pytest
from validator import bids_errors

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.one_volume import write_dataset
from rtflow.bids.run import BidsRun
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object

pytestmark = pytest.mark.realdata


def volumes(folder, entities: dict[str, str]) -> list[BidsIncremental]:
    """All echoes of all volumes."""
    objects = defaultdict(list)
    for path in folder.rglob("*"):
        if path.is_file():
            item = read_object(path.read_bytes())
            objects[item.instance.volume].append(item)
    return [echo for number in sorted(objects) for echo in to_incrementals(objects[number], number, entities)]


@pytest.mark.parametrize(
    ("name", "length", "echoes"),
    [("siemens_D13_mosaic_multiecho", 3, 2), ("siemens_E11_mosaic_rtcloud", 10, 1)],
)
def test_a_series_is_one_run_and_each_volume_a_data_set(series, tmp_path, name, length, echoes) -> None:
    held = volumes(series(name) / "dicom", {"subject": "01", "task": "x"})
    run = BidsRun(one.checked() for one in held)
    assert run.numbers == tuple(range(1, length + 1))
    assert len(run) == length * echoes
    of_last = [one for one in run if one.volume == length]
    assert len({one.get("EchoTime") for one in of_last}) == echoes
    assert all(0 <= one.time_to_next_tr() <= one.tr for one in of_last)
    write_dataset(of_last, tmp_path)
    assert bids_errors(tmp_path) == []
    if echoes > 1:
        run = run.find({"echo": echoes})
    assert run.as_incremental().data.shape == (*held[0].data.shape, length)


def test_the_protocol_says_the_session(series) -> None:
    first = volumes(series("siemens_E11_mosaic_rtcloud") / "dicom", {"subject": "01"})[0]
    entities = first.checked().entities
    assert first.get("ProtocolName") == "func_ses-01_task-faces_run-01"
    assert dict(entities) == {"subject": "01", "session": "01", "task": "faces", "run": "01"}
