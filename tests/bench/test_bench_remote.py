"""The benchmark over three hosts, short: real processes over TLS, and what its figures mean."""

from pathlib import Path

import pytest

from rtflow.bench import remote
from rtflow.bench.counter import Counter
from rtflow.bench.hosts import Hosts


@pytest.mark.slow
def test_each_value_comes_and_what_goes_over_the_wire_is_counted(tmp_path: Path) -> None:
    files = remote.write_series(6)
    with Hosts(tmp_path) as hosts, Counter(hosts.port) as counter:
        hosts.through = f"wss://127.0.0.1:{counter.port}"
        shown = remote.measure(hosts, files, realign=True, pace=0.0)
    assert [one.value["volume"] for one in shown] == list(range(1, 7))
    assert all(one.came > one.written for one in shown)
    assert all(one.value["status"] == "ok" and one.value["value"] for one in shown)
    size = sum(len(file.data) for file in files)
    # All went through the counter; what stands for a person was left out, TLS and questions add little.
    assert 0.8 * size < counter.bytes < 1.1 * size


def test_the_age_counts_from_the_middle_of_the_acquisition() -> None:
    assert remote.age(remote.Shown(written=10.0, came=10.25, value={})) == pytest.approx(0.75)
