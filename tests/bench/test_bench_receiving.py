"""The benchmark of the receiver measures what it says."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from rtflow.bench import receiving
from rtflow.errors import UsageError


@pytest.mark.skipif(receiving.missing() is not None, reason=f"{receiving.missing()}")
def test_both_receivers_are_measured_on_the_same_objects(tmp_path: Path) -> None:
    files = receiving.write_objects("siemens-mosaic", 10, tmp_path)
    found = receiving.figures("mosaic", files)
    rates = [name for name in found if name.endswith("_per_s")]
    assert sorted(rates) == [
        "receiver_mosaic_default_per_s",
        "receiver_mosaic_nodelay_per_s",
        "storescp_mosaic_default_per_s",
        "storescp_mosaic_nodelay_per_s",
    ]
    assert all(value > 0 for value in found.values())


def test_a_rate_counts_from_the_first_object() -> None:
    assert receiving.rate([10.0, 12.0, 11.0]) == 1.0


def test_without_dcmtk_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # pynetdicom's programs, which are called alike, are there and are not taken for dcmtk's.
    scripts = sysconfig.get_path("scripts")
    assert shutil.which("storescu", path=scripts)
    monkeypatch.setenv("PATH", scripts)
    with pytest.raises(UsageError, match=r"storescu and storescp is not installed.*dcmtk"):
        receiving.run()
