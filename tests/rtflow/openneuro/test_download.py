"""Files on their way from an S3 server: in parts, over a bad line, taken up, checked, read meanwhile."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3
from processes import until

from rtflow.errors import OutputError, SourceError
from rtflow.openneuro import Bucket, Cache, NoNetworkError, StoredObject, objects
from rtflow.openneuro.bucket import ChangedError
from rtflow.openneuro.download import Download, StoppedError

IMAGE = "sub-xp201/func/sub-xp201_task-1dNF_run-01_bold.nii.gz"
NEVER = threading.Event()


@pytest.fixture
def line() -> s3.Line:
    return s3.Line()


@pytest.fixture
def near(server: str, line: s3.Line) -> Iterator[str]:
    """URL of the near end of the line."""
    with s3.over(server, line) as url:
        yield url


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def image(server: str) -> StoredObject:
    return next(item for item in objects(Bucket(server), s3.DATASET, "xp201") if item.path == IMAGE)


def fetched(near: str, image: StoredObject, cache: Cache) -> tuple[Path, int]:
    download = Download(Bucket(near), image, cache, backoff=0.001).start()
    try:
        return download.wait(NEVER), download.fetched
    finally:
        download.close()


def test_a_file_comes_in_parallel_parts_each_byte_once(near, line, image, cache, dataset) -> None:
    path, size = fetched(near, image, cache)
    assert path.read_bytes() == (dataset / IMAGE).read_bytes()
    assert size == image.size
    ranges = sorted(asked for key, asked in line.requests if key.endswith(IMAGE))
    assert len(ranges) == 4
    assert cache.whole(image) == path
    # Only what is whole stands among the files of the data set.
    assert [p for p in cache.folder(s3.DATASET).rglob("*") if p.name.endswith((".parts", ".new"))] == []


@pytest.mark.parametrize("trouble", [{"resets": 9}, {"refusals": 7}], ids=["reset", "503"])
def test_a_bad_line_costs_time_and_nothing_else(near, line, image, cache, dataset, trouble) -> None:
    for name, times in trouble.items():
        setattr(line, name, times)
    path, size = fetched(near, image, cache)
    assert [getattr(line, name) for name in trouble] == [0]
    assert path.read_bytes() == (dataset / IMAGE).read_bytes()
    # What had come before a reset is not fetched again.
    assert size == image.size


def test_a_server_that_never_answers_is_given_up(near, line, image, cache) -> None:
    line.refusals = 10**6
    with pytest.raises(NoNetworkError, match=r"does not answer .*try again later"):
        fetched(near, image, cache)


def test_a_wrong_checksum_is_told_and_nothing_is_kept(near, line, image, cache, dataset) -> None:
    line.altered = True
    with pytest.raises(SourceError, match=r"does not have the server's checksum .* was removed: try again"):
        fetched(near, image, cache)
    assert cache.whole(image) is None
    assert not cache.path(image).exists()
    line.altered = False
    assert fetched(near, image, cache)[0].read_bytes() == (dataset / IMAGE).read_bytes()


def test_a_missing_key_and_a_changed_file_are_told(near, image, cache) -> None:
    gone = StoredObject(image.key.replace("run-01", "run-77"), image.size, image.etag)
    with pytest.raises(ChangedError, match=r"run-77.* is not on http.* as it was listed"):
        fetched(near, gone, cache)
    other = StoredObject(image.key, image.size, "0" * 32)
    with pytest.raises(ChangedError, match="as it was listed"):
        fetched(near, other, cache)


def test_a_file_is_read_while_it_comes(near, line, image, cache, dataset, monkeypatch) -> None:
    line.held = 300_000
    download = Download(Bucket(near), image, cache).start()
    stream = download.stream(NEVER)
    raw = gzip.decompress((dataset / IMAGE).read_bytes())
    with gzip.GzipFile(fileobj=stream) as unpacked:
        assert unpacked.read(100_000) == raw[:100_000]
        assert download.received < image.size
        s3.released_by_a_waiting_reader(line, monkeypatch)
        stream.waited = False
        assert unpacked.read() == raw[100_000:]
    assert stream.waited
    assert download.wait(NEVER) == cache.path(image)
    download.close()


def test_a_reader_that_waits_ends_when_told_to(near, line, image, cache) -> None:
    line.held = 1000
    stopping = threading.Event()
    download = Download(Bucket(near), image, cache).start()
    stream = download.stream(stopping)
    reader = threading.Timer(0.0, stopping.set)
    reader.start()
    with pytest.raises(StoppedError):
        stream.read(image.size) + stream.read(image.size)
    line.held = None
    download.close()


FETCH = """
import sys, threading
from rtflow.openneuro import Bucket, Cache, StoredObject
from rtflow.openneuro.download import Download
url, folder, key, size, etag = sys.argv[1:]
bucket = Bucket(url)
print("here", flush=True)
Download(bucket, StoredObject(key, int(size), etag), Cache(folder)).start().wait(threading.Event())
"""


def test_a_download_that_was_killed_goes_on_where_it_was(near, line, image, cache, dataset, tmp_path) -> None:
    line.held = 800_000  # in the last of the four parts
    arguments = [near, str(tmp_path / "cache"), image.key, str(image.size), image.etag]
    paths = os.pathsep.join(sys.path)
    with subprocess.Popen([sys.executable, "-c", FETCH, *arguments], env={"PYTHONPATH": paths}) as process:
        state = cache.partial(image).with_name(f"{Path(IMAGE).name}.parts")
        until(lambda: state.exists() and all_but_one(state))
        process.send_signal(signal.SIGKILL)
    line.held = None
    line.requests.clear()
    path, size = fetched(near, image, cache)
    assert path.read_bytes() == (dataset / IMAGE).read_bytes()
    assert size < image.size / 3
    assert len([key for key, _ in line.requests if key.endswith(IMAGE)]) == 1


def all_but_one(state: Path) -> bool:
    parts = json.loads(state.read_bytes())["parts"]
    return sum(part["start"] + part["got"] < part["stop"] for part in parts) == 1


def test_two_processes_fetch_a_file_once(near, line, image, cache, tmp_path) -> None:
    arguments = [near, str(tmp_path / "cache"), image.key, str(image.size), image.etag]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    line.held = 100_000
    command = [sys.executable, "-c", FETCH, *arguments]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    # Both are at it while nothing can be whole.
    assert [process.stdout.readline() for process in both if process.stdout] == [b"here\n"] * 2
    until(lambda: len([key for key, _ in line.requests if key.endswith(IMAGE)]) >= 4)
    line.held = None
    assert [process.wait(s3.LIMIT) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    assert len([key for key, _ in line.requests if key.endswith(IMAGE)]) == 4
    assert cache.whole(image) is not None


def test_what_was_damaged_on_disk_is_no_longer_whole(server, image, cache) -> None:
    path, _ = fetched(server, image, cache)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert cache.whole(image) is None
    assert fetched(server, image, cache)[1] == image.size
    assert cache.whole(image) == path


def test_a_file_that_was_stored_in_pieces_is_checked_too(server, tmp_path, cache) -> None:
    piece = 5 << 20
    data = os.urandom(piece) + os.urandom(1000)
    client, key = s3.client(server), "ds000001/sub-1/func/sub-1_task-a_bold.nii"
    upload = client.create_multipart_upload(Bucket=s3.NAME, Key=key, ACL="public-read")["UploadId"]
    parts = []
    for number, body in enumerate((data[:piece], data[piece:]), start=1):
        done = client.upload_part(Bucket=s3.NAME, Key=key, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"ETag": done["ETag"], "PartNumber": number})
    client.complete_multipart_upload(
        Bucket=s3.NAME, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    (item,) = Bucket(server).listed("ds000001/sub-1/")
    assert item.etag.endswith("-2")
    path, _ = fetched(server, item, cache)
    assert path.read_bytes() == data
    client.delete_object(Bucket=s3.NAME, Key=key)


def test_a_key_that_leads_out_of_the_cache_is_refused(cache) -> None:
    with pytest.raises(SourceError, match="no path of a file in a data set"):
        cache.path(StoredObject("ds000001/../../x", 1, ""))


def test_a_cache_that_cannot_be_written_is_told(server, image, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written .* set RTFLOW_CACHE"):
        Download(Bucket(server), image, Cache(tmp_path / "file"))
