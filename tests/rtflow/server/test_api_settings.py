import shutil
from pathlib import Path

import pytest
from visitors import Served, ask, guarded

from rtflow.documents import PartRecord, RunStart, VolumeReceived
from rtflow.errors import WorkflowError
from rtflow.server.desk import Desk, FieldError
from rtflow.server.messages import BeginRun
from rtflow.server.settings_file import save_settings
from rtflow.settings import RunSettings, load_settings
from rtflow.toml_text import to_toml
from rtflow.workflows.template import Settings


@pytest.fixture
def served(tmp_path: Path):
    with guarded(tmp_path, settings=Settings()) as place:
        yield place


def request(served: Served, method: str, path: str, data: object = None, role: str = "operator"):
    return ask(served, method, path, token=served.tokens[role], data=data)[:2]


def test_what_differs_from_the_beginning_is_told(served: Served):
    _, told = request(served, "GET", "/api/settings", role="viewer")
    assert (told["differences"], told["file"]) == ([], {"path": "", "values": told["values"]})
    changes = {"bids": {"run": 2}, "source": {"kind": "folder", "path": "/data"}}
    _, told = request(served, "PUT", "/api/settings", changes)
    found = {one["name"]: (one["file"], one["now"]) for one in told["differences"]}
    assert found["bids.run"] == (1, 2)
    assert found["source.kind"] == ("simulate", "folder")
    assert (found["source.path"], found["source.capsule"]) == ((None, "/data"), (False, None))
    assert told["file"]["values"]["bids"]["run"] == 1


def test_settings_are_tried_and_not_taken(served: Served):
    status, told = request(served, "PUT", "/api/settings?check=1", {"bids": {"run": 2}})
    assert (status, told["values"]["bids"]["run"]) == (200, 1)
    assert request(served, "PUT", "/api/settings?check=1", {}, role="viewer")[0] == 403
    assert not [what for _, what, _ in served.lines() if what == "settings"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bids": {"run": "x"}}, "bids.run"),
        ({"bids": {"rum": 1}}, "bids.rum"),
        ({"source": {"kind": "nope"}}, "source.kind"),
        ({"deadline": 0}, "deadline"),
        ({"fwhm": -3}, "fwhm"),
        ({"bids": {"subject": "sub 02/x"}}, "bids.subject"),
        ({"bids": {"session": "a\n"}}, "bids.session"),
        ({"show": 3}, "show"),
        ({"source": {"kind": "folder"}}, "source.path"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(served: Served, changes: dict, field: str):
    for path in ("/api/settings?check=1", "/api/settings"):
        status, told = request(served, "PUT", path, changes)
        assert (status, told["field"]) == (422, field)
        assert field in told["error"]
        assert "recorded" not in told["error"]


def test_changes_of_what_is_not_any_more_are_refused_and_the_status_tells_of_them(served: Served):
    base = request(served, "GET", "/api/settings")[1]["revision"]
    assert request(served, "GET", "/api/status")[1]["settings"] == base
    change = f"/api/settings?base={base}"
    status, told = request(served, "PUT", change, {"bids": {"subject": "09"}})
    assert (status, told["changed_by"]) == (200, "operator")
    assert told["revision"] == request(served, "GET", "/api/status")[1]["settings"] != base
    # The same once more is what they are: somebody clicked twice, or an answer was lost.
    assert request(served, "PUT", change, {"bids": {"subject": "09"}}) == (200, told)
    status, refused = request(served, "PUT", change, {"bids": {"run": 2}})
    assert (status, refused["error"].split(",")[0]) == (
        409,
        "the settings were changed by operator since they were looked at",
    )
    assert request(served, "GET", "/api/settings")[1]["values"] == told["values"]
    # Put back, they are what was looked at.
    before = served.desk.describe_settings()["file"]["values"]["bids"]["subject"]
    assert request(served, "PUT", "/api/settings", {"bids": {"subject": before}})[1]["revision"] == base


def test_what_makes_no_sense_is_refused_before_the_scan(served: Served):
    status, told = request(served, "PUT", "/api/settings", {"design": {"conditions": ["rest", "face"]}})
    assert status == 422
    assert "rest" in told["error"]


def test_settings_of_which_no_workflow_can_be_made_are_not_taken(tmp_path: Path):
    def build(settings: RunSettings) -> None:
        if settings.seed:
            raise WorkflowError("build() raised TraitError: no such seed (line 7)")

    desk = Desk(RunSettings(), tmp_path, waits=True, build=build)
    with pytest.raises(FieldError, match="line 7"):
        desk.change_settings({"seed": 1, "dummy_volumes": 2})
    assert desk.settings == RunSettings()
    desk.change_settings({"dummy_volumes": 2})
    assert desk.settings.dummy_volumes == 2


def test_settings_are_kept_in_a_new_file(served: Served, tmp_path: Path):
    request(served, "PUT", "/api/settings", {"bids": {"subject": "07"}, "limits": {"missing": None}})
    status, told = request(served, "POST", "/api/settings/save", {"name": "evening"})
    path = tmp_path / "out" / "settings" / "evening.toml"
    assert (status, told) == (201, {"path": str(path)})
    assert load_settings(Settings, path) == served.desk.settings
    before = path.read_bytes()
    status, told = request(served, "POST", "/api/settings/save", {"name": "evening"})
    assert status == 409
    assert "another name" in told["error"]
    assert path.read_bytes() == before
    assert served.wait_for_line("settings saved")["name"] == "evening"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a\n"])
def test_a_file_of_settings_has_a_name_that_leads_nowhere_else(served: Served, tmp_path: Path, name: str):
    assert request(served, "POST", "/api/settings/save", {"name": name})[0] == 422
    assert request(served, "POST", "/api/settings/save", {"name": "a"}, role="viewer")[0] == 403
    assert not list(tmp_path.rglob("*.toml"))


def test_text_of_any_kind_comes_back_from_the_file(tmp_path: Path):
    task = 'quote " back \\ tab \t line \n bell \x07 del \x7f Ünï 😀 none'
    settings = RunSettings(show=(task, "none"), work_dir=str(tmp_path / task.replace("\n", "")))
    assert load_settings(RunSettings, save_settings(settings, tmp_path, "odd")) == settings


def test_tables_in_lists_and_odd_keys_are_toml():
    assert to_toml({"a": [{"b": 1, "c": None}], "d e": {"x": {"y": True}}}) == (
        'a = [{b = 1}]\n\n["d e".x]\ny = true\n'
    )


def test_the_deadline_is_that_of_the_settings_or_one_tr_at_the_speed(tmp_path: Path):
    def deadline(*changes: str) -> float | None:
        return Desk(load_settings(RunSettings, None, changes), tmp_path).deadline(2.0)

    assert deadline() == 2.0
    assert deadline("source.speed=4") == 0.5
    assert deadline("deadline=0.7", "source.speed=4") == 0.7
    assert deadline('source.speed="max"') is None
    assert Desk(RunSettings(), tmp_path).deadline(None) is None


def test_status_tells_the_place_the_disk_and_the_deadline(served: Served, tmp_path: Path):
    told = request(served, "GET", "/api/status", role="viewer")[1]
    assert (told["out"], told["waits"], told["began"]) == (str(tmp_path / "out"), True, None)
    assert told["bids"] == {"subject": "01", "session": "", "task": "feedback", "run": 1}
    assert told["disk"]["needed"] is None
    total = shutil.disk_usage(tmp_path).total
    assert 0 < told["disk"]["free"] <= total

    served.server.begin_run(BeginRun(run_uid="r", volumes=10, tr=1.5))
    served.server.observe(RunStart(run_uid="r", seq=0, time=1234.0, workflow="w"))
    for volume in (1, 2):
        part = PartRecord(name="x", media_type="y", size=100 * volume, sha256="")
        served.server.observe(
            VolumeReceived(run_uid="r", seq=volume, volume=volume, received=1.0, parts=(part,))
        )
    while told["received"] != 2:
        told = request(served, "GET", "/api/status", role="viewer")[1]
    assert (told["began"], told["deadline"]) == (1234.0, 1.5)
    assert told["disk"]["needed"] == 8 * 150 * 2


def test_a_message_without_a_name_has_no_field():
    assert FieldError("something is wrong").field == ""
