"""A run that was cut off and is taken up tells, and shows, what the whole one does."""

from cutting import cut

from rtflow.documents import Result
from rtflow.journal import Recording
from rtflow.rerun import resume

# The third block begins at 100 s, when 45 volumes are over.
OPTIONS = (
    *("design.conditions=[regulate]", "design.blocks=3", "design.block=20", "design.rest=20"),
    *("design.opening=20", "source.volumes=45", "dummy_volumes=4", "feedback.mode=intermittent"),
)


def left_out(recording: Recording) -> list[str]:
    return [event.data["says"] for event in recording.events if event.name == "trials_left_out"]


def test_trials_that_were_shown_before_are_not_left_out(play, tmp_path) -> None:
    ran = play("roi_feedback", tmp_path / "out", *OPTIONS)
    whole = Recording(next((ran.out / "runs").iterdir()))
    assert left_out(whole) == [
        "1 of 3 trials are left out, as no volume of the run shows them: regulate at 100 s"
    ]
    run_dir = cut(whole.run_dir, tmp_path, lambda one: isinstance(one, Result) and one.volume == 40)
    assert resume(run_dir).status == "completed"
    after = Recording(run_dir)
    assert left_out(after) == left_out(whole)
    assert [r.values_sha256 for r in after.results] == [r.values_sha256 for r in whole.results]
