"""Files appear whole, and nothing is left of one that does not."""

import pytest

from rtflow.whole_file import put_whole


def test_nothing_is_left_of_a_file_that_cannot_be_put_in_its_place(tmp_path) -> None:
    (tmp_path / "value.json").mkdir()
    with pytest.raises(OSError, match=r"value\.json"):
        put_whole(tmp_path / "value.json", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["value.json"]
    put_whole(tmp_path / "other.json", b"x")
    assert (tmp_path / "other.json").read_bytes() == b"x"
