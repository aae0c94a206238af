"""``openneuro:`` as a source of volumes: from the network, from the cache, and when either lets it down."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import s3

from rtflow.design import read_events
from rtflow.documents import Event, Frame
from rtflow.errors import SourceError
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.openneuro import Bucket, Cache, NoNetworkError
from rtflow.openneuro.download import Download
from rtflow.openneuro.run_files import listed
from rtflow.source_settings import BidsSource, OpenNeuroSource
from rtflow.sources import open_source

IMAGE = "sub-xp201/func/sub-xp201_task-1dNF_run-01_bold.nii.gz"


@pytest.fixture
def line() -> s3.Line:
    return s3.Line()


@pytest.fixture
def near(server: str, line: s3.Line) -> Iterator[str]:
    with s3.over(server, line) as url:
        yield url


def spec(near: str, tmp_path: Path, **options: object) -> OpenNeuroSource:
    chosen = {"subject": "xp201", "task": "1dNF", "run": "1", **options}
    return OpenNeuroSource(dataset=s3.DATASET, endpoint=near, cache=str(tmp_path / "cache"), **chosen)


def replayed(table: OpenNeuroSource | BidsSource, events: list[Event] | None = None) -> list[Frame]:
    source = open_source(table)
    source.begin(Path(), (events if events is not None else []).append)
    try:
        return list(source.frames(threading.Event()))
    finally:
        source.end()


def sums(frames: list[Frame]) -> list[list[str]]:
    return [[part.sha256 for part in frame.parts] for frame in frames]


def test_frames_are_those_of_the_data_set_in_a_folder(near, line, dataset, tmp_path) -> None:
    """By way of the network, of the cache, and of the folder that the cache is."""
    table = spec(near, tmp_path)
    here = replayed(BidsSource(path=str(dataset), **table.entities))
    events: list[Event] = []
    for frames in (
        replayed(table, events),
        replayed(table),
        replayed(BidsSource(path=str(Cache(tmp_path / "cache").folder(s3.DATASET)))),
    ):
        assert sums(frames) == sums(here)
    (one,) = frame_to_incrementals(here[1], {})
    assert (one.tr, one.metadata["FlipAngle"], one.metadata["TaskName"]) == (1.0, 77, "1dNF")
    assert one.metadata["AcquisitionTime"] == "14:35:47.597500"
    assert events[-1].data["fetched"] >= events[-1].data["of"] == (dataset / IMAGE).stat().st_size


def test_without_a_network_what_is_kept_is_replayed_and_the_rest_is_told(near, tmp_path) -> None:
    table = spec(near, tmp_path)
    expected = sums(replayed(table))
    gone = spec("http://127.0.0.1:9", tmp_path)
    assert sums(replayed(gone)) == expected
    with pytest.raises(NoNetworkError, match="cannot be reached"):
        open_source(spec("http://127.0.0.1:9", tmp_path, run="2"))


def test_a_few_volumes_cost_a_few_bytes(near, line, dataset, tmp_path) -> None:
    line.held = 700_000  # what is in the last of the parts never comes, and is not waited for
    frames = replayed(spec(near, tmp_path, volumes=3))
    assert [frame.volume for frame in frames] == [1, 2, 3]
    assert not (Cache(tmp_path / "cache").folder(s3.DATASET) / IMAGE).exists()


def test_a_network_that_goes_away_for_good_ends_the_run(near, line, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(Download.__init__.__kwdefaults__, "backoff", 0.01)
    line.held = 300_000
    source = open_source(spec(near, tmp_path))
    frames = source.frames(threading.Event())
    assert next(frames).volume == 1
    line.resets, line.reset_after = 10**6, 0
    line.cut = True
    with pytest.raises(
        SourceError, match=r"sub-xp201_task-1dNF_run-01: .*(broke|cannot be reached|not answer)"
    ):
        list(frames)
    source.end()


def test_bytes_that_came_wrong_end_the_run_where_nothing_else_would_tell(
    near, line, server, tmp_path
) -> None:
    root = tmp_path / "plain"
    s3.write_image(root / "sub-1" / "func" / "sub-1_task-a_bold.nii", shape=(24, 24, 10), volumes=4)
    s3.upload(server, root, "ds000002")
    line.altered = True
    table = OpenNeuroSource(dataset="ds000002", endpoint=near, cache=str(tmp_path / "cache"))
    source = open_source(table)
    frames = source.frames(threading.Event())
    assert [next(frames).volume for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(SourceError, match=r"sub-1_task-a: .* does not have the server's checksum"):
        next(frames)
    source.end()
    line.altered = False
    assert len(replayed(table)) == 4


def test_what_was_replaced_on_the_server_is_listed_anew(server, near, dataset, tmp_path) -> None:
    key = f"{s3.DATASET}/{IMAGE}"
    other = (dataset / IMAGE.replace("run-01", "run-02")).read_bytes()
    client = s3.client(server)
    listed(s3.DATASET, "xp201", Cache(tmp_path / "cache"), Bucket(server))
    try:
        client.put_object(Bucket=s3.NAME, Key=key, Body=other, ACL="public-read")
        found = replayed(spec(near, tmp_path))
        twin = replayed(spec(near, tmp_path, run="2"))
        assert [images for images, _ in sums(found)] == [images for images, _ in sums(twin)]
    finally:
        client.put_object(Bucket=s3.NAME, Key=key, Body=(dataset / IMAGE).read_bytes(), ACL="public-read")


def test_a_volume_that_came_late_says_so(near, line, tmp_path, monkeypatch) -> None:
    """What was waited for on the line is received when it came, not when the scanner would have had it."""
    line.held = 300_000
    source = open_source(spec(near, tmp_path, speed=1e4))
    frames = source.frames(threading.Event())
    first = next(frames)
    s3.released_by_a_waiting_reader(line, monkeypatch, after=0.2)
    rest = list(frames)
    source.end()
    due = [frame.acquired + 1e-4 for frame in (first, *rest)]  # type: ignore[operator]
    late = [frame.received - at > 0.05 for frame, at in zip((first, *rest), due, strict=True)]
    assert any(late)
    assert not late[0]


@pytest.mark.realdata
def test_the_true_layout_of_ds002338(series: Callable[[str], Path], tmp_path) -> None:
    """All metadata of the real data set, and an image of its grid."""
    root = tmp_path / "openneuro"
    shutil.copytree(series("meta_ds002338"), root, copy_function=shutil.copyfile)
    s3.write_image(root / IMAGE, shape=(106, 106, 16), volumes=6)
    s3.write_image(root / IMAGE.replace("1dNF_run-01", "MIpre"), shape=(106, 106, 16), volumes=2)
    with s3.serving() as endpoint:
        s3.upload(endpoint, root)
        frames = replayed(spec(endpoint, tmp_path))
    assert len(frames) == 6
    (one,) = frame_to_incrementals(frames[0], {})
    assert one.data.shape == (106, 106, 16)
    sidecar = json.loads((root / IMAGE.replace(".nii.gz", ".json")).read_text())
    at_top = json.loads((root / "task-1dNF_bold.json").read_text())
    assert one.metadata["SliceTiming"] == sidecar["SliceTiming"] != at_top["SliceTiming"]
    assert one.metadata["Instructions"] == at_top["Instructions"]
    assert (one.tr, one.metadata["AcquisitionTime"]) == (1.0, "14:35:46.597500")
    kept = Cache(tmp_path / "cache").folder(s3.DATASET)
    assert sorted(path.name for path in kept.glob("*.tsv")) == ["task-1dNF_events.tsv"]
    # Some rows of other tasks have a tab too many.
    trials = read_events(root / "task-MIpre_events.tsv").trials
    assert {trial.trial_type for trial in trials} == {"Task-MI"}
    np.testing.assert_array_equal([trial.onset for trial in trials], np.arange(22, 322, 40))
