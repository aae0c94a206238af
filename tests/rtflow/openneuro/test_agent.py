"""An agent as a replay service: a data set comes from the bucket to a run on another host."""

from pathlib import Path

import s3
from agents import Agent, ServedRun
from processes import free_port


def test_a_run_takes_the_volumes_of_a_data_set_from_an_agent(server: str, tmp_path: Path) -> None:
    port = free_port()
    source = f"openneuro:{s3.DATASET}?subject=xp201&task=1dNF&run=1&volumes=6&speed=max"
    source += f"&endpoint={server}&cache={tmp_path / 'cache'}"
    with (
        ServedRun(port, tmp_path / "out", "source=agent:scanner?wait=60") as run,
        Agent(port, tmp_path / "state", "--source", source) as agent,
    ):
        assert run.wait() == 0, (run.lines, agent.lines)
    results = run.recording.results
    assert [(result.volume, result.status) for result in results] == [(n, "ok") for n in range(1, 7)]
    assert len({result.values["digest.value"] for result in results}) == 6
