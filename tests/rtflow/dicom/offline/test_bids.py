"""Where series stand in a data set: by what their names say, and by what they show."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from exports import AFFINE, edit, export, make_anatomy, voxels

from rtflow.dicom.offline import BidsChoice, Conversion, convert_folder, list_folder
from rtflow.dicom.writing import ScanSeries
from rtflow.errors import UsageError

BEGAN = datetime.datetime(2024, 5, 17, 10, 30)


def scanned(
    folder: Path, number: int, name: str, *, volumes: int = 1, vendor: str = "siemens-xa", **about
) -> None:
    # As consoles do, phase images are acquired with the magnitudes and numbered behind them.
    minutes = number - (about.get("image_type") == "phase")
    began = BEGAN + datetime.timedelta(minutes=minutes)
    series = ScanSeries(AFFINE, number=number, name=name, began=began, **about)
    export(folder, vendor, series, voxels(series, volumes), stem=f"{number}")


def placed(folder: Path, **choice: str) -> dict[int, str]:
    """Number of each series to the place of its first file."""
    told = list_folder(folder, bids=BidsChoice(**choice))
    return {one.number: one.files[0] for one in told.series}


def named(folder: Path, names: Sequence[str], **choice: str) -> list[str]:
    for number, name in enumerate(names, start=1):
        scanned(folder, number, name)
    return list(placed(folder, **choice).values())


def test_names_of_protocols_say_where(tmp_path: Path) -> None:
    assert named(
        tmp_path,
        ["func-bold_task-faces_run-01", "func_ses-02_task-rest_acq-fast", "task-nback_dir-AP"],
        subject="01",
    ) == [
        "sub-01/ses-02/func/sub-01_ses-02_task-faces_run-01_bold",
        "sub-01/ses-02/func/sub-01_ses-02_task-rest_acq-fast_bold",
        "sub-01/ses-02/func/sub-01_ses-02_task-nback_dir-AP_bold",
    ]


def test_what_is_asked_for_goes_before_what_names_say(tmp_path: Path) -> None:
    assert named(tmp_path, ["sub-9_ses-02_task-faces"], subject="01", session="1", task="rest") == [
        "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold"
    ]


def test_without_a_task_a_run_is_put_aside(tmp_path: Path) -> None:
    scanned(tmp_path, 3, "ep2d bold")
    told = list_folder(tmp_path, bids=BidsChoice("01"))
    assert told.series[0].files == ("sourcedata/converted/sub-01/3_ep2d_bold",)
    assert told.series[0].notes == ("put aside: its name has no task-; give --task LABEL",)
    assert placed(tmp_path, subject="01", task="rest") == {3: "sub-01/func/sub-01_task-rest_bold"}


def test_a_label_that_cannot_stand_in_a_name_is_said(tmp_path: Path) -> None:
    scanned(tmp_path, 3, "func-bold_task-face-house")
    (one,) = list_folder(tmp_path, bids=BidsChoice("01")).series
    assert "task-face-house cannot stand in a BIDS name" in one.notes[0]


def test_repeats_are_counted_and_take_their_references_and_phases_along(tmp_path: Path) -> None:
    name = "func-bold_task-faces"
    scanned(tmp_path, 3, name, sbref=True)
    scanned(tmp_path, 4, name, volumes=2)
    scanned(tmp_path, 5, name, volumes=2, image_type="phase")
    # The second run has no reference.
    scanned(tmp_path, 6, name, volumes=2)
    scanned(tmp_path, 7, name, volumes=2, image_type="phase")
    scanned(tmp_path, 8, name, sbref=True)
    scanned(tmp_path, 9, name, volumes=2)
    stem = "sub-01/func/sub-01_task-faces_run-"
    assert placed(tmp_path, subject="01") == {
        3: f"{stem}1_sbref",
        4: f"{stem}1_bold",
        5: f"{stem}1_part-phase_bold",
        6: f"{stem}2_bold",
        7: f"{stem}2_part-phase_bold",
        8: f"{stem}3_sbref",
        9: f"{stem}3_bold",
    }


def test_a_run_that_was_named_already_takes_the_next_index_that_is_free(tmp_path: Path) -> None:
    names = [f"func-bold_task-x_run-0{run}" for run in (1, 1, 2)]
    assert named(tmp_path, names, subject="01") == [
        f"sub-01/func/sub-01_task-x_run-{run}_bold" for run in ("01", "03", "02")
    ]
    notes = [one.notes for one in list_folder(tmp_path, bids=BidsChoice("01")).series]
    assert notes == [(), ("run-01 is there already, so it is run-03",), ()]


def test_what_the_header_says_counts(tmp_path: Path) -> None:
    scanned(tmp_path, 2, "anat-T1w", vendor="siemens-xa-classic")
    (one,) = list_folder(tmp_path, bids=BidsChoice("01")).series
    assert one.notes == ("put aside: it is named anat-T1w, and shows bold",)
    make_anatomy(sorted(tmp_path.iterdir()), number=2)
    assert placed(tmp_path, subject="01") == {2: "sub-01/anat/sub-01_T1w"}


def test_field_maps_by_opposite_phase_encoding(tmp_path: Path) -> None:
    assert named(tmp_path, ["fmap-epi_dir-AP", "fmap-epi_dir-PA", "fmap-epi"], subject="1") == [
        "sub-1/fmap/sub-1_dir-AP_epi",
        "sub-1/fmap/sub-1_dir-PA_epi",
        "sourcedata/converted/sub-1/3_fmap-epi",
    ]


def test_what_the_scanner_has_corrected_is_no_second_run(tmp_path: Path) -> None:
    scanned(tmp_path, 5, "func-bold_task-x", vendor="siemens-mosaic")
    scanned(tmp_path, 6, "func-bold_task-x", vendor="siemens-mosaic")
    (second,) = tmp_path.glob("6_*")
    edit(
        second, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOCO", "MOSAIC"], SeriesDescription="MoCoSeries"
    )
    assert placed(tmp_path, subject="1") == {
        5: "sub-1/func/sub-1_task-x_bold",
        6: "sub-1/func/sub-1_task-x_rec-moco_bold",
    }


def test_somebody_must_say_who_it_is(tmp_path: Path) -> None:
    scanned(tmp_path / "in", 2, "func-bold_task-x")
    with pytest.raises(UsageError, match="give --subject LABEL"):
        convert_folder(tmp_path / "in", tmp_path / "out", bids=BidsChoice())
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="subject 'sub-01' cannot stand"):
        convert_folder(tmp_path / "in", tmp_path / "out", bids=BidsChoice("sub-01"))


def converted(folder: Path) -> Conversion:
    scanned(folder / "in", 3, "func-bold_task-faces", sbref=True)
    scanned(folder / "in", 4, "func-bold_task-faces", volumes=3)
    scanned(folder / "in", 5, "func-bold_task-faces", volumes=3, image_type="phase")
    scanned(folder / "in", 6, "func-bold_task-rest", volumes=3, echo_times=(0.01, 0.02))
    scanned(folder / "in", 7, "nameless")
    return convert_folder(folder / "in", folder / "out", bids=BidsChoice("01", "pre"))


def test_a_data_set_is_one(tmp_path: Path) -> None:
    converted(tmp_path)
    out = tmp_path / "out"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    stem = "sub-01/ses-pre/func/sub-01_ses-pre_task"
    runs = ("faces_sbref", "faces_bold", "faces_part-phase_bold", "rest_echo-1_bold", "rest_echo-2_bold")
    stems = [f"{stem}-{run}" for run in runs] + ["sourcedata/converted/sub-01/ses-pre/7_nameless"]
    assert files == {"README.md", "dataset_description.json", "participants.tsv"} | {
        f"{stem}{ending}" for stem in stems for ending in (".nii.gz", ".json")
    }
    assert (out / "participants.tsv").read_text() == "participant_id\nsub-01\n"
    sidecar = json.loads((out / f"{stem}-faces_part-phase_bold.json").read_text())
    assert (sidecar["TaskName"], sidecar["Units"]) == ("faces", "arbitrary")
    assert (sidecar["SeriesNumber"], sidecar["NumberOfVolumes"]) == (5, 3)
