"""The files that settings name stay with the run: it is run again with what it was given."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import msgspec
import pytest

from rtflow import named_files
from rtflow.design import DesignSettings
from rtflow.documents import Result
from rtflow.engine import run
from rtflow.errors import JournalError
from rtflow.journal import Recording
from rtflow.named_files import as_kept, to_keep
from rtflow.rerun import replay, resume
from rtflow.setting_types import LocalPath
from rtflow.settings import RunSettings, load_settings
from rtflow.source_settings import FolderSource
from rtflow.workflow_file import load_workflow

# As a mask does, a file decides what every volume gives.
WORKFLOW = """
from pathlib import Path

import counting_workflow
from nipype import Function, Node
from rtflow.setting_types import LocalPath

class Settings(counting_workflow.Settings):
    region: LocalPath = ""

def scale(number, factor):
    return number * factor

def build(settings):
    flow = counting_workflow.build(settings)
    scaled = Node(Function(["number", "factor"], ["number"], scale), name="scaled")
    scaled.inputs.factor = float(Path(settings.region).read_text())
    flow.connect(flow.get_node("sum"), "total", scaled, "number")
    return flow
"""


class Of(msgspec.Struct):
    file: LocalPath = ""
    save: LocalPath = ""


class Settings(RunSettings):
    mask: LocalPath = ""
    several: tuple[LocalPath, ...] = ()
    named: dict[str, LocalPath] = msgspec.field(default_factory=dict)
    inner: Of | None = None
    design: DesignSettings | None = None
    word: str = ""


def kept(settings: Settings) -> dict[str, bytes]:
    return to_keep(Settings, msgspec.to_builtins(settings))


def test_every_setting_that_names_a_file_to_read_is_kept(tmp_path):
    names = ("mask.nii", "one", "two", "three", "four", "events.tsv", "word", "save")
    mask, one, two, three, four, events, word, save = (tmp_path / name for name in names)
    for path in (mask, one, two, three, four, events, word, save):
        path.write_text(path.name)
    settings = Settings(
        mask=str(mask),
        several=(str(one), str(two), str(tmp_path / "none")),
        named={"a/../b": str(three)},
        inner=Of(file=str(four), save=str(save)),
        design=DesignSettings(events=str(events)),
        word=str(word),
        source=FolderSource(path=str(mask)),
        work_dir=str(tmp_path),
    )
    found = kept(settings)
    table = json.loads(found.pop("workflow/files.json"))
    assert {name: data.decode() for name, data in found.items()} == {
        "workflow/files/mask/mask.nii": "mask.nii",
        "workflow/files/several.0/one": "one",
        "workflow/files/several.1/two": "two",
        "workflow/files/named.a_.._b/three": "three",
        "workflow/files/inner.file/four": "four",
        "workflow/files/design.events/events.tsv": "events.tsv",
    }
    assert table["mask"] == {
        "path": str(mask),
        "sha256": hashlib.sha256(b"mask.nii").hexdigest(),
        "size": 8,
        "copy": "workflow/files/mask/mask.nii",
    }
    for name, data in {**found, "workflow/files.json": json.dumps(table).encode()}.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(data)
    before = msgspec.to_builtins(settings)
    again = msgspec.convert(as_kept(tmp_path / "run", Settings, before), Settings)
    assert before == msgspec.to_builtins(settings)
    assert again.design is not None
    assert again.inner is not None
    copies = (again.mask, *again.several[:2], again.named["a/../b"], again.inner.file, again.design.events)
    assert copies == tuple(str(tmp_path / "run" / name) for name in found)
    assert (again.inner.save, again.word, again.source) == (str(save), str(word), settings.source)


def test_a_pair_of_header_and_image_is_kept_together(tmp_path):
    (tmp_path / "mask.hdr").write_text("header")
    (tmp_path / "mask.img").write_text("image")
    found = kept(Settings(mask=str(tmp_path / "mask.hdr")))
    assert found["workflow/files/mask/mask.img"] == b"image"


def test_settings_without_a_file_leave_nothing():
    assert kept(Settings()) == {}


def of_a_run(folder: Path) -> tuple[Recording, Path]:
    (folder / "mine.py").write_text(WORKFLOW)
    region = folder / "region.txt"
    region.write_text("3")
    workflow = load_workflow(folder / "mine.py")
    settings = load_settings(workflow.settings_type, None, [f"region={region}"])
    stop = run(workflow, settings, folder / "out")
    return Recording(Path(stop.outputs["run"])), region


def test_a_replay_takes_the_file_as_it_was(tmp_path):
    live, region = of_a_run(tmp_path)
    assert live.start.settings["region"] == str(region)
    region.write_text("5")
    stop, comparison = replay(live.run_dir)
    assert (comparison.equal, comparison.differing) == (8, ())
    region.unlink()
    _, comparison = replay(Path(stop.outputs["run"]))  # of a replay too
    assert (comparison.equal, comparison.differing) == (8, ())


def test_a_run_that_goes_on_takes_the_file_as_it_was(tmp_path):
    live, region = of_a_run(tmp_path)
    run_dir = tmp_path / "cut"
    shutil.copytree(live.run_dir, run_dir)
    path = run_dir / "journal" / "documents.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    end = next(n for n, document in enumerate(live.documents, 1) if isinstance(document, Result))
    path.write_bytes(b"".join(lines[:end]))
    region.unlink()
    resume(run_dir)
    again = Recording(run_dir)
    assert [r.values_sha256 for r in again.results] == [r.values_sha256 for r in live.results]
    assert json.loads((run_dir / "workflow/settings.json").read_text())["region"] == str(region)


@pytest.mark.parametrize("how", ["changed", "deleted"])
def test_a_copy_that_is_not_what_it_was_is_refused(tmp_path, how):
    live, _ = of_a_run(tmp_path)
    copy = live.run_dir / "workflow/files/region/region.txt"
    copy.unlink() if how == "deleted" else copy.write_text("4")
    with pytest.raises(JournalError, match=r"region\.txt.* restore it"):
        replay(live.run_dir)


def test_a_file_that_is_too_large_is_not_kept_and_must_be_as_it_was(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(named_files, "LARGEST", 0)
    with caplog.at_level(logging.WARNING, "rtflow"):
        live, region = of_a_run(tmp_path)
        assert f"{region} is not kept with the run" in caplog.text
        assert not (live.run_dir / "workflow/files").exists()
        assert replay(live.run_dir)[1].differing == ()
    region.write_text("5")
    with pytest.raises(JournalError, match="too large to be kept"):
        replay(live.run_dir)


def test_a_run_of_an_older_version_kept_nothing(tmp_path):
    live, _ = of_a_run(tmp_path)
    (live.run_dir / "workflow/files.json").unlink()
    assert replay(live.run_dir)[1].equal == 8
