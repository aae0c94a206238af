"""``rtflow bids-app wrap`` as it is typed, and the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from containers import Podman
from rtflow.bench import bids_app
from rtflow.bids_apps.descriptor import read_descriptor
from rtflow.bids_apps.measuring import too_slow
from rtflow.cli.main import app


def test_wrap_writes_the_file_once(podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tag = podman.image("example-app")
    done = CliRunner().invoke(app, ["bids-app", "wrap", tag, "--runtime", "podman"])
    assert done.exit_code == 0, done.output
    assert "--help: " in done.output
    made = read_descriptor(tmp_path / "apps" / "example-app.toml")
    assert made.image == podman.pinned("example-app")
    assert made.options["mask"].kind == "path"
    again = CliRunner().invoke(app, ["bids-app", "wrap", tag, "--runtime", "apptainer"])  # asks none
    assert again.exit_code == 2
    assert "is there already" in again.output
    other = CliRunner().invoke(app, ["bids-app", "wrap", "lab/other:1", "--name", "example-app", "--bench"])
    assert f"is of the image {tag}, not of lab/other:1" in other.output
    asked = ["bids-app", "wrap", tag, "--force", "--level", "group", "--json", "--bench", "--tr", "0.01"]
    forced = CliRunner().invoke(app, asked)
    assert forced.exit_code == 0, forced.output
    said = json.loads(forced.stdout)
    assert said["app"]["levels"] == ["group"]
    assert "worker" in said["app"]
    assert "not measured" in forced.stderr  # it knows no level group
    assert read_descriptor(tmp_path / "apps" / "example-app.toml").levels == ("group",)


def test_wrap_measures(podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["bids-app", "wrap", podman.image("example-app"), "--name", "mean", "--bench", "--tr", "0.01"]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["times"]) == {"started anew", "by its worker"}
    assert "started anew, a volume takes" in done.stderr
    assert too_slow(json.loads(done.stdout)["times"], 0.01)[0] in done.stderr
    file = tmp_path / "apps" / "mean.toml"
    edited = file.read_text() + "# by hand\n[limits]\nseconds = 0.01\n"
    file.write_text(edited)
    again = CliRunner().invoke(app, asked)
    assert again.exit_code == 0, again.output
    assert "as it is there; nothing is written" in again.output
    assert "not measured" in again.stderr  # nothing is done in so short a time: the file's own limit
    assert file.read_text() == edited


def test_wrap_believes_a_descriptor_that_is_given(
    podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["bids-app", "wrap", podman.image("example-app-shell"), "--name", "sizes", "--runtime", "podman"]
    absent = CliRunner().invoke(app, [*asked, "--descriptor", "given.json"])
    assert absent.exit_code == 2
    assert "given.json" in absent.output
    assert not Path("apps").exists()
    task = {"id": "task", "type": "Number", "command-line-flag": "--task", "description": "by number"}
    Path("given.json").write_text(json.dumps({"tool-version": "9.1", "inputs": [task]}))
    done = CliRunner().invoke(app, [*asked, "--descriptor", "given.json"])
    assert done.exit_code == 0, done.output
    made = read_descriptor(Path("apps/sizes.toml"))
    assert made.version == "9.1"  # of the image's label it is 1.0
    assert (made.options["task"].kind, made.options["task"].origin) == ("number", "boutiques")
    assert made.options["skip_bids_validator"].origin == "help"  # what it does not have


def test_wrap_takes_a_tag_only_if_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apptainer knows no digest of a tag; what stands in for it here answers as it does."""
    monkeypatch.chdir(tmp_path)
    fake = tmp_path / "apptainer"
    help_text = "usage: app\\n\\noptions:\\n  --task TASK  which\\n"
    cases = f'*version) echo 1.3 ;; *--help) printf "{help_text}" ;; *) exit 1 ;;'
    fake.write_text(f'#!/bin/sh\ncase "$*" in {cases} esac\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    asked = ["bids-app", "wrap", "lab/app:1", "--runtime", "apptainer"]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 2
    assert "--allow-tag" in refused.output
    assert not Path("apps").exists()
    done = CliRunner().invoke(app, [*asked, "--allow-tag"])
    assert done.exit_code == 0, done.output
    made = read_descriptor(Path("apps/app.toml"))
    assert (made.image, list(made.options)) == ("docker://lab/app:1", ["task"])


def test_only_what_takes_more_than_half_of_the_tr_is_warned_of() -> None:
    took = {"started anew": (800.0, 1000.1), "by its worker": (3.0, 1000.0)}
    assert [line.partition(",")[0] for line in too_slow(took, 2.0)] == ["started anew"]
    assert too_slow(took, 2.1) == []


@pytest.mark.slow
def test_the_benchmark(podman: Podman, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bids_app.IMAGE_VARIABLE, podman.image("example-app"))
    monkeypatch.setenv("RTFLOW_RUNTIME", "podman")
    report = bids_app.run(cold=1, warm=5, shape=(16, 16, 8))
    columns = ("cold_median_ms", "cold_p95_ms", "worker_first_ms", "worker_median_ms", "worker_p95_ms")
    assert set(report.figures) == {f"{row}:{column}" for row in ("native", "podman") for column in columns}
    assert set(report.bars) == {"podman:worker_median_ms"}
