"""What is remembered of objects that are not whole, and for how long."""

from pathlib import Path

import pytest
from scanning import volume_file

from rtflow.dicom.elements import IncompleteError
from rtflow.sources.feed import Arrival
from rtflow.sources.reading import Reader


def test_what_was_cut_off_and_is_whole_now_is_no_reason_any_more() -> None:
    """Else the reason for a volume that lacks a slice would name a file that is whole."""
    reader, data = Reader(), volume_file(3)
    cut, whole = (Arrival("3.dcm", Path("in/3.dcm"), some, 0.0) for some in (data[:-100], data))
    with pytest.raises(IncompleteError):
        reader.read(cut)
    assert [volume for _, volume in reader.cut_off] == [3]
    assert "cut off" in reader.others
    assert reader.read(whole) is not None
    assert reader.cut_off == {}
    assert reader.others == ""
