import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.errors import RunError
from rtflow.server.states import STEPS, States


@given(st.lists(st.sampled_from(sorted(STEPS))))
def test_only_steps_of_the_table_are_taken(asked):
    entered = []
    states = States(entered.append)
    for state in asked:
        before = states.now
        assert states.try_to_enter(state) == (state in STEPS[before])
        assert states.now == (state if state in STEPS[before] else before)
    path = ["idle", *entered]
    assert all(after in STEPS[before] for before, after in itertools.pairwise(path))


def test_every_state_leads_back_to_idle():
    for state in STEPS:
        seen, left = set(), [state]
        while left:
            seen.add(one := left.pop())
            left += [after for after in STEPS[one] if after not in seen]
        assert "idle" in seen


def test_a_step_that_is_not_in_the_table_is_told():
    with pytest.raises(RunError, match="idle cannot be running next"):
        States().enter("running")
