"""A batch of one run: what makes it to be done again, what is checked first, and who else may be at work."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rtflow.batch.jobs import Job, made_by, planned, read_batch, write_batch
from rtflow.batch.table import rows_of

from .conftest import RTFLOW, rtflow, simulated, states

NAME = "sub-01_task-feedback_run-1"
#: Waits, once it is in a job, while a file is there.
WAITING = """
import os, time
from pathlib import Path
from rtflow.workflows import roi_feedback


class Settings(roi_feedback.Settings):
    waiting: str = ""


def build(settings):
    if settings.waiting and Path(settings.waiting).exists():
        Path(settings.waiting).write_text(str(os.getpid()))
        while Path(settings.waiting).exists():
            time.sleep(0.02)
    return roi_feedback.build(settings)
"""
#: An executor of Snakemake as those of clusters are: a job is the command of a process in another folder.
ELSEWHERE = """
import asyncio, subprocess
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    job_deploy_sources=False,
    non_local_exec=True,
    implies_no_shared_fs=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def run_job(self, job):
        process = subprocess.Popen(self.format_job_exec(job), shell=True, cwd="/", start_new_session=True)
        self.logger.info(f"elsewhere: {process.pid}")
        self.report_job_submission(SubmittedJobInfo(job, aux={"process": process}))

    async def check_active_jobs(self, active_jobs):
        await asyncio.sleep(0.1)
        for info in active_jobs:
            status = info.aux["process"].poll()
            if status is None:
                yield info
            elif status == 0:
                self.report_job_success(info)
            else:
                self.report_job_error(info)

    def cancel_jobs(self, active_jobs):
        for info in active_jobs:
            info.aux["process"].terminate()
        self.shutdown()

    def get_job_exec_prefix(self, job):
        return f"cd {self.workflow.workdir_init}"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one")
    simulated(out, 1)
    return out / "bids"


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """A workflow that waits while the file ``wait`` beside it is there."""
    (tmp_path / "waiting.py").write_text(WAITING)
    (tmp_path / "waiting.toml").write_text(f'waiting = "{tmp_path / "wait"}"\n')
    (tmp_path / "wait").touch()
    return tmp_path / "waiting.py"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def until_it_waits(workflow: Path, process: subprocess.Popen) -> int:
    """Wait for the job; gives its process."""
    while not (found := workflow.with_name("wait").read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    return int(found)


def test_a_run_is_done_again_when_what_it_is_made_of_has_changed(data: Path, tmp_path: Path) -> None:
    folder, workflow = tmp_path / "batch", tmp_path / "mine.py"
    workflow.write_text("from rtflow.workflows.roi_feedback import Settings, build\n")
    words = ("batch", workflow, data, "--out", folder)

    def to_do() -> bool:
        before = contents(folder)
        shown = rtflow(*words, "--dry-run", "--json")
        assert shown.returncode == 0, shown.stderr
        assert contents(folder) == before
        return json.loads(shown.stdout) == {NAME: "to do"}

    assert rtflow(*words).returncode == 0
    assert not to_do()
    for file, text in (
        (workflow, "from rtflow.workflows.roi_feedback import Settings, build  # better\n"),
        (workflow.with_suffix(".toml"), "opening = 4.0\n"),
    ):
        before = file.read_text() if file.exists() else None
        file.write_text(text)
        assert to_do()
        # What was done with another workflow is not shown as if it had been done with this one.
        assert states(folder) == {NAME: "to do"}
        told = rtflow("batch", "--table", folder)
        assert f"to do   {NAME}: it was done with other options or another workflow" in told.stdout
        # What counts is what stands in it, not when it was written.
        if before is None:
            file.unlink()
        else:
            file.write_text(before)
        assert not to_do()
        assert states(folder) == {NAME: "completed"}


def test_a_job_that_fails_leaves_the_results_of_one_that_completed(data: Path, tmp_path: Path) -> None:
    folder, workflow = tmp_path / "batch", tmp_path / "mine.py"
    good = "from rtflow.workflows.roi_feedback import Settings, build\n"
    workflow.write_text(good)
    words = ("batch", workflow, data, "--out", folder)
    assert rtflow(*words, "--quiet").returncode == 0
    out = folder / "runs" / NAME / "out"
    before = contents(out)
    # What can be seen before is said before, and no job is begun.
    done = rtflow(*words, "--set", "mask=no.nii")
    assert done.returncode == 2
    assert "no run was begun: the settings name what does not exist, mask=" in done.stderr
    assert states(folder) == {NAME: "completed"}
    # What cannot fails in the job; what it is shown with is its own, and the earlier results are there.
    workflow.write_text(good + "def build(settings):\n    raise ValueError('not this way')\n")
    done = rtflow(*words)
    assert done.returncode == 3, done.stderr
    assert f"failed  {NAME}: " in done.stdout
    assert "not this way" in done.stdout
    (row,) = rows_of(folder)
    assert "run_uid" not in row
    assert contents(out) == before
    # Cut off by kill -9 they stand aside; with the workflow as it was they are at once what is shown.
    out.rename(out.with_name("kept"))
    out.mkdir()
    workflow.write_text(good)
    assert states(folder) == {NAME: "completed"}
    assert "0 of 1 runs to do" in rtflow(*words, "--dry-run").stdout
    # Snakemake by hand puts them back, and does nothing over again.
    command = [os.environ["RTFLOW_SNAKEMAKE"], "--cores", "1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    assert contents(out) == before
    assert not out.with_name("kept").exists()
    assert states(folder) == {NAME: "completed"}


def test_a_choice_of_runs_keeps_the_others_in_the_batch(tmp_path: Path) -> None:
    for subject in ("01", "02"):
        func = tmp_path / "data" / f"sub-{subject}" / "func"
        func.mkdir(parents=True)
        (func / f"sub-{subject}_task-a_bold.nii").touch()
    folder = tmp_path / "batch"
    words = ("batch", "roi_feedback", tmp_path / "data", "--out", folder)

    def begun(*more: str) -> dict[str, str]:
        done = rtflow(*words, *more, RTFLOW_SNAKEMAKE="/bin/false")
        assert "snakemake did not end well" in done.stderr
        return read_batch(folder).runs

    every = begun()
    assert list(every) == ["sub-01_task-a", "sub-02_task-a"]
    whole = folder / "runs" / "sub-01_task-a" / "out"
    whole.mkdir(parents=True)
    (whole / "made-by.txt").write_text(made_by(read_batch(folder), "sub-01_task-a"))
    (whole / "result.json").write_text('{"status": "completed", "run_uid": "none", "volumes": {}}')
    assert begun("--subject", "02") == every
    assert states(folder) == {"sub-01_task-a": "completed", "sub-02_task-a": "to do"}
    assert "sub-01_task-a\t01" in (folder / "group.tsv").read_text()
    # All of a batch have the same options: what was done with others is kept, but not shown.
    assert all("opening=9" in command for command in begun("--subject", "02", "--set", "opening=9").values())
    assert states(folder) == {"sub-01_task-a": "to do", "sub-02_task-a": "to do"}
    assert (whole / "result.json").exists()
    assert begun("--subject", "02") == every
    assert states(folder) == {"sub-01_task-a": "completed", "sub-02_task-a": "to do"}


def test_arguments_are_checked_before_snakemake_is_looked_for(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    for words, says in (
        (["roi_feedback", tmp_path / "none"], "does not exist"),
        (["roi_fedback", data], "roi_fedback does not exist; did you mean 'roi_feedback'?"),
        (["roi_feedback", data, "--subject", "99"], "holds no run of subject 99"),
        (["roi_feedback", data, "--set", "openin=4"], "did you mean 'opening'?"),
        (["roi_feedback", data, "-c", tmp_path / "none.toml"], "does not exist; give a TOML file"),
        (["roi_feedback", data, "--table", folder], "leave out workflow and data set"),
        (["roi_feedback", data, "--set", "mask=none.nii"], "the settings name what does not exist, mask="),
        (["connectivity", data], "give --set first=FIRST.nii --set second=SECOND.nii"),
    ):
        done = rtflow("batch", *words, "--out", folder, RTFLOW_SNAKEMAKE="/nowhere/snakemake")
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
    assert not folder.exists()


def test_a_path_counts_from_where_it_was_typed(data: Path, tmp_path: Path) -> None:
    """The jobs have another folder than the one who typed it."""
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a b.nii").touch()
    for typed in ("mask=masks/a b.nii", 'mask="masks/a b.nii"'):
        command = [*RTFLOW, "batch", "roi_feedback", data, "--set", "opening=5", "--set", typed]
        nothing = os.environ | {"RTFLOW_SNAKEMAKE": "/bin/false"}
        subprocess.run(list(map(str, command)), cwd=tmp_path, check=False, env=nothing, timeout=60)
        words = shlex.split(read_batch(tmp_path / "rtflow-batch").runs[NAME])
        given = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        assert given == ["opening=5", f'mask="{tmp_path}/masks/a b.nii"']


def test_a_second_ctrl_c_kills_what_does_not_end(data: Path, waiting: Path, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    words = ["batch", waiting, data, "--out", folder]
    process = subprocess.Popen(
        [*RTFLOW, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"RTFLOW_CACHE": "kept"},
    )
    job = until_it_waits(waiting, process)
    # What is relative to where the command was typed is so for the jobs too.
    assert f"RTFLOW_CACHE={tmp_path / 'kept'}".encode() in Path(f"/proc/{job}/environ").read_bytes()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = ""
    while "Ctrl-C again kills them" not in said:
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    said += process.stderr.read()  # `communicate` does not know of what was read ahead
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert "killing them" in said
    assert "0 of 1 runs are done, the same command goes on" in said
    assert "rtflow run" not in said
    with contextlib.suppress(ProcessLookupError):
        while True:  # its parent is gone, and the system may take a while to bury it
            os.kill(job, 0)
            if Path(f"/proc/{job}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.02)
    # Snakemake was killed too, and has left its lock: the next one knows that it may take it away.
    assert any((folder / ".snakemake" / "locks").iterdir())
    waiting.with_name("wait").unlink()
    again = rtflow(*words)
    assert again.returncode == 0, again.stderr
    assert states(folder) == {NAME: "completed"}


def test_where_snakemake_is_at_work_by_hand_a_batch_does_not_begin(
    data: Path, waiting: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "batch"
    words = ("batch", waiting, data, "--out", folder)
    assert rtflow(*words, RTFLOW_SNAKEMAKE="/bin/false").returncode == 1
    command = [os.environ["RTFLOW_SNAKEMAKE"], "--cores", "1"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet) as process:
        until_it_waits(waiting, process)
        done = rtflow(*words)
        waiting.with_name("wait").unlink()
        assert process.wait(120) == 0
    assert done.returncode == 2, done.stderr
    assert "Snakemake is at work in" in done.stderr
    assert "'snakemake --unlock'" in done.stderr
    # And the other way round Snakemake itself holds the folder.
    shutil.rmtree(folder / "runs")
    waiting.with_name("wait").touch()
    with subprocess.Popen([*RTFLOW, *map(str, words), "--quiet"]) as process:
        until_it_waits(waiting, process)
        by_hand = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        waiting.with_name("wait").unlink()
        assert process.wait(120) == 0
    assert by_hand.returncode != 0
    assert "Directory cannot be locked" in by_hand.stdout + by_hand.stderr
    assert states(folder) == {NAME: "completed"}


def test_each_failed_run_has_its_reason(tmp_path: Path) -> None:
    """One that could not begin has failed, one that says nothing was cut off; of others, what failed most."""
    left: dict[str, tuple[str, dict[str, object] | None]] = {
        "sub-1": ("rtflow: no events; leave out --events\n", None),
        "sub-2": ("", None),
        "sub-3": ("", {"exit_status": 1, "status": "completed", "errors": {"a: rare": 1, "b: often": 9}}),
        "sub-4": ("", {"exit_status": 1, "status": "completed"}),
    }
    write_batch(tmp_path, planned(tmp_path, [Job(name, {}) for name in left], "/data", "template"))
    for name, (log, told) in left.items():
        place = tmp_path / "runs" / name
        place.mkdir(parents=True)
        (place / "made-by.txt").write_text(made_by(read_batch(tmp_path), name))
        (place / "log.txt").write_text(log)
        if told:
            told |= {"run_uid": "none", "volumes": {"failed": 10}}
            (place / "result.json.part").write_text(json.dumps(told))
    assert [(row["status"], row["why"]) for row in rows_of(tmp_path)] == [
        ("failed", "rtflow: no events; leave out --events"),
        ("aborted", "it was cut off"),
        ("failed", "the run ended with status 1, 9 x b: often"),
        ("failed", "the run ended with status 1"),
    ]


@pytest.mark.slow
def test_an_executor_of_another_kind(data: Path, tmp_path: Path) -> None:
    """What a cluster's does, without one; and what Snakemake says where there is none of that name."""
    plugin = tmp_path / "plugins" / "snakemake_executor_plugin_elsewhere"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(ELSEWHERE)
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text("seconds-between-status-checks: 1\n")
    words = ("batch", "roi_feedback", data, "--executor", "elsewhere", "--jobs", "2", "--out", tmp_path / "b")
    done = rtflow(*words, "--profile", profile, PYTHONPATH=str(plugin.parent))
    log = (tmp_path / "b" / "snakemake.log").read_text()
    assert done.returncode == 0, log
    assert "elsewhere: " in log
    assert str(profile) in log
    assert states(tmp_path / "b") == {NAME: "completed"}
    absent = rtflow(*words[:-1], tmp_path / "c")
    assert absent.returncode == 1
    assert "did not end well: snakemake: error: argument --executor/-e: invalid choice: 'elsewhere'" in (
        absent.stderr
    )
