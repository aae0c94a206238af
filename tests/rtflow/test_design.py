"""Trials, volumes and files of events: onset 0 is the start of volume 1."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.design import DesignSettings, block_design, events_text, read_events, write_events
from rtflow.errors import SettingsError, UsageError
from rtflow.trials import Design, ShownTrial, Trial

HEADER = "onset\tduration\ttrial_type\n"


def shown(design: Design, tr: float, lag: float = 0.0, volumes: int = 30) -> dict[int, int]:
    """Volume to trial, where there is one."""
    trials = {volume: design.trial(volume, tr, lag) for volume in range(1, volumes + 1)}
    return {volume: trial for volume, trial in trials.items() if trial is not None}


def test_a_trial_at_onset_0_begins_with_volume_1_and_its_end_is_not_part_of_it() -> None:
    assert shown(Design((Trial(0.0, 4.0, "a"),)), 2.0) == {1: 0, 2: 0}


@pytest.mark.parametrize("tr", [0.7, 0.8, 1.0, 1.5, 2.0])
def test_the_lag_is_seconds_and_shifts_by_whole_volumes_of_the_true_tr(tr: float) -> None:
    design = Design((Trial(4 * tr, 3 * tr, "a"), Trial(10 * tr, 2 * tr, "b")))
    assert shown(design, tr) == {5: 0, 6: 0, 7: 0, 11: 1, 12: 1}
    # A volume counts from its start on: a lag of two and a half volumes reaches the third one after.
    for lag, later in ((2 * tr, 2), (2.5 * tr, 3)):
        assert shown(design, tr, lag) == {
            volume + later: trial for volume, trial in shown(design, tr).items()
        }


@given(volume=st.integers(1, 5000), tr=st.floats(0.2, 4.0))
def test_onsets_that_are_multiples_of_the_tr_are_met_whatever_the_rounding(volume: int, tr: float) -> None:
    design = Design((Trial((volume - 1) * tr, tr, "a"),))
    assert [design.trial(volume + step, tr) for step in (-1, 0, 1)] == [None, 0, None]


@pytest.mark.parametrize("late", [0.0, 0.012, 0.04])
def test_onsets_that_a_log_has_a_frame_or_two_late_belong_to_their_volume(late: float) -> None:
    design = Design((Trial(12.0 + late, 16.0, "a"),))
    assert list(shown(design, 2.0, lag=4.0)) == list(range(9, 17))


@pytest.mark.parametrize("duration", [0.0, 0.03, 0.5, 1.0, 1.9])
@pytest.mark.parametrize("step", [5.0, 4.0, 3.7])
@pytest.mark.parametrize("lag", [0.0, 4.0, 3.3])
def test_no_trial_is_so_short_that_it_shows_in_no_volume(duration: float, step: float, lag: float) -> None:
    design = Design(tuple(Trial(6.0 + step * n, duration, "a") for n in range(20)))
    found = shown(design, 2.0, lag, volumes=60)
    assert set(found.values()) == set(range(20))
    for volume, number in found.items():  # and in none that does not overlap it
        start, onset = 2.0 * (volume - 1) - lag, design.trials[number].onset
        assert onset < start + 2.0
        assert start - 0.05 - 1e-9 <= onset + duration


@pytest.mark.parametrize("onset", [11.99, 12.0, 12.012, 12.04, 13.0])
def test_a_short_trial_shows_in_one_volume_where_it_lies_in_one(onset: float) -> None:
    assert list(shown(Design((Trial(onset, 0.5, "a"),)), 2.0)) == [7]
    assert list(shown(Design((Trial(onset, 0.0, "a"),)), 2.0)) == [7]


def test_a_cue_or_a_press_takes_no_volume_from_a_block() -> None:
    trials = (
        Trial(12.0, 0.0, "cue"),
        Trial(12.0, 6.0, "a"),
        Trial(14.5, 0.0, "press"),
        Trial(18.5, 0.5, "b"),
    )
    assert shown(Design(trials), 2.0) == {7: 1, 8: 1, 9: 1, 10: 3}


def test_a_short_trial_on_a_border_shows_on_both_sides() -> None:
    assert list(shown(Design((Trial(11.5, 1.0, "a"),)), 2.0)) == [6, 7]


@given(
    onset=st.floats(0.0, 60.0), volumes=st.floats(1.0, 9.0), tr=st.floats(0.4, 3.0), lag=st.floats(0.0, 8.0)
)
def test_a_trial_of_a_tr_or_more_shows_in_the_volumes_that_start_in_it(onset, volumes, tr, lag) -> None:
    duration = volumes * tr
    starts = [(volume, (volume - 1) * tr - lag + 0.05) for volume in range(1, 60)]
    expected = [volume for volume, start in starts if onset <= start < onset + duration]
    assert list(shown(Design((Trial(onset, duration, "a"),)), tr, lag, volumes=59)) == expected


def test_a_block_that_is_logged_image_by_image_is_one_trial() -> None:
    images = [Trial(12.028 + 1.016 * n, 0.883, "face") for n in range(16)]
    others = [Trial(36.0 + n, 0.9, "scene") for n in range(16)]
    again = [Trial(60.0 + n, 0.9, "scene") for n in range(16)]
    blocks = Design((*images, *others, *again)).joined(1.0).trials
    assert [(trial.trial_type, round(trial.onset, 3)) for trial in blocks] == [
        ("face", 12.028),
        ("scene", 36.0),
        ("scene", 60.0),
    ]
    assert [round(trial.duration, 3) for trial in blocks] == [16.123, 15.9, 15.9]


def test_trials_that_overlap_or_differ_are_joined_by_type_alone() -> None:
    design = Design(
        (Trial(0.0, 10.0, "a"), Trial(2.0, 3.0, "a"), Trial(10.0, 5.0, "b"), Trial(15.0, 5.0, "a"))
    )
    assert design.joined(0.0).trials == (
        Trial(0.0, 10.0, "a"),
        Trial(10.0, 5.0, "b"),
        Trial(15.0, 5.0, "a"),
    )


def test_blocks_go_through_the_conditions_and_rest_follows_each() -> None:
    design = block_design(["a", "b"], blocks=3, block=4.0, rest=2.0, opening=6.0)
    labels = [design.label(volume, 2.0) for volume in range(1, 14)]
    assert labels == ["rest"] * 3 + ["a"] * 2 + ["rest"] + ["b"] * 2 + ["rest"] + ["a"] * 2 + ["rest"] * 2


@given(
    st.lists(
        st.tuples(st.integers(0, 10**8), st.integers(1, 10**7)),
        min_size=1,
        max_size=5,
        unique_by=lambda t: t[0],
    )
)
def test_events_come_back_as_they_were_to_the_millisecond(tmp_path_factory, times) -> None:
    design = Design(tuple(Trial(onset / 1000, length / 1000, "a") for onset, length in sorted(times)))
    path = tmp_path_factory.mktemp("events") / "events.tsv"
    write_events(design, path)
    assert read_events(path) == design


def test_rest_and_unnamed_events_are_no_trials(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    # A trailing tab, as in ds002338, and trials out of order.
    path.write_text(HEADER + "9\t2\tface\t\n0\t4\trest\n4\t1\tn/a\n5\t2\tscene\n")
    assert read_events(path) == Design((Trial(5.0, 2.0, "scene"), Trial(9.0, 2.0, "face")))


@pytest.mark.parametrize("row", ["nan\t2\ta", "1\tn/a\ta", "1\tinf\ta", "1\t-2\ta", "1"])
def test_a_row_without_its_times_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "0\t1\ta\n" + row + "\n")
    with pytest.raises(UsageError, match=r"events.tsv, line 3: onset and duration must be seconds"):
        read_events(path)


def test_settings_with_events_name_conditions_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "0\t1\tright\n4\t1\tleft\n")
    chosen = DesignSettings(events=str(path), conditions=("left", "right"))
    assert chosen.design() == read_events(path)
    with pytest.raises(
        SettingsError, match=r"no trial of face, scene, it has right, left; set design.conditions"
    ):
        DesignSettings(events=str(path)).design()
    with pytest.raises(SettingsError, match="conditions is empty"):
        DesignSettings(events=str(path), conditions=()).design()


def test_onsets_that_count_from_the_first_dummy_are_brought_to_the_first_saved_volume(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_text(HEADER + "2\t6\tleft\n14\t4\tright\n")
    settings = DesignSettings(events=str(path), conditions=("left", "right"), scanner_dummies=6.0)
    design = settings.design()
    assert design == Design((Trial(-4.0, 6.0, "left"), Trial(8.0, 4.0, "right")))
    # Volume 1 begins when two seconds of the first trial are left.
    assert [design.label(volume, 2.0, 0.0) for volume in (1, 2, 4, 5, 6)] == [
        "left",
        "rest",
        "rest",
        "right",
        "right",
    ]


def test_what_was_shown_takes_the_place_of_what_was_planned_nearest() -> None:
    plan = Design((Trial(4.0, 2.0, "face"), Trial(10.0, 2.0, "face"), Trial(16.0, 2.0, "house")))
    told = [
        ShownTrial(11.0, 2.5, "face"),
        ShownTrial(12.0, 1.0, "face", late=True),
        ShownTrial(40.0, 2.0, "house"),
        ShownTrial(13.0, 1.0, "word"),
    ]
    found = plan.as_shown(told)
    assert [(one.onset, one.trial_type) for one in found.trials] == [
        (11.0, "face"),
        (12.0, "face"),
        (13.0, "word"),
        (16.0, "house"),
        (40.0, "house"),
    ]
    assert [line.split("\t")[-1] for line in events_text(found).splitlines()] == [
        *("told", "shown", "late", "shown", "planned", "shown")
    ]
    assert plan.as_shown([]) == plan
    assert "told" not in events_text(plan)


@pytest.mark.parametrize("name", ["rest", "Rest", "n/a"])
def test_rest_is_no_condition(name: str) -> None:
    with pytest.raises(SettingsError, match=f"design.conditions has {name}"):
        DesignSettings(conditions=("regulate", name)).require()


def test_a_run_that_was_recorded_with_rest_as_a_condition_still_replays() -> None:
    assert DesignSettings(conditions=("regulate", "rest")).design().conditions == ("regulate", "rest")


def test_columns_that_are_parted_by_commas_are_shown(tmp_path: Path) -> None:
    (tmp_path / "events.tsv").write_text("onset,duration,trial_type\n0,10,scene\n")
    with pytest.raises(UsageError, match=r"but 'onset,duration,trial_type'; .* with tabs"):
        read_events(tmp_path / "events.tsv")
