"""What OpenNeuro has, asked over HTTP."""

import socket

import pytest
import s3

from rtflow.errors import SourceError
from rtflow.openneuro import Bucket, Cache, NoNetworkError, datasets, description, objects, readme, subjects
from rtflow.openneuro.run_files import listed, runs_of


def test_data_sets_subjects_description_and_readme(server, dataset) -> None:
    bucket = Bucket(server)
    assert s3.DATASET in datasets(bucket)
    assert subjects(bucket, s3.DATASET) == ["xp201", "xp204"]
    assert description(bucket, s3.DATASET)["Name"] == "A stand-in of XP2"
    assert readme(bucket, s3.DATASET) == (dataset / "README").read_text(encoding="utf-8")
    runs = runs_of(objects(bucket, s3.DATASET))
    assert [str(run) for run in runs] == [
        "sub-xp201_task-1dNF_run-01",
        "sub-xp201_task-1dNF_run-02",
        "sub-xp201_task-MIpre",
        "sub-xp204_task-2dNF_run-01",
    ]


def test_of_one_subject_nothing_else_is_listed(server) -> None:
    line = s3.Line()
    with s3.over(server, line) as url:
        found = objects(Bucket(url), s3.DATASET, "xp204")
    assert {item.path.split("/")[0] for item in found if "/" in item.path} == {"sub-xp204"}
    assert "dataset_description.json" in [item.path for item in found]
    assert len(line.requests) == 2


def test_the_environment_chooses_the_server(server, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    assert s3.DATASET in datasets(Bucket())


def test_what_is_not_there_is_told(server) -> None:
    with pytest.raises(SourceError, match=r"OpenNeuro has no data set ds999999 .* lists those it has"):
        objects(Bucket(server), "ds999999")
    with pytest.raises(SourceError, match="has no subject nobody; it has xp201, xp204"):
        objects(Bucket(server), s3.DATASET, "nobody")
    with pytest.raises(SourceError, match="'XP2' is no data set of OpenNeuro"):
        subjects(Bucket(server), "XP2")
    for endpoint in ("nonsense", "ftp://host", "http://"):
        with pytest.raises(SourceError, match=f"endpoint '{endpoint}'.*; give a URL such as https://HOST"):
            Bucket(endpoint)


def test_what_cannot_be_kept_is_listed_all_the_same(server, tmp_path) -> None:
    (tmp_path / "file").touch()
    found = listed(s3.DATASET, "", Cache(tmp_path / "file"), Bucket(server))
    assert len(runs_of(found)) == 4


def test_no_network_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(
        NoNetworkError, match=r"cannot be reached \(Connection refused\); check the network and --endpoint"
    ):
        datasets(Bucket(f"http://127.0.0.1:{port}"))
