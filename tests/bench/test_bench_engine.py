"""The benchmark of the engine measures what it says."""

from rtflow.bench import engine
from rtflow.bench.report import Bar, BenchReport, bar


def test_every_volume_is_measured() -> None:
    for with_data in (False, True):
        assert len(engine.overhead_times(with_data, count=20)) == 18
        latency, trips = engine.stream_times(with_data, count=20)
        assert len(latency) == len(trips) == 18
        assert all(0 < a < b for a, b in zip(latency, trips, strict=True))
    assert min(engine.stock_times(False, count=1)) > 0


def test_bars_hold_or_do_not() -> None:
    assert bar(1.0, 2.0) == Bar(1.0, 2.0, True)
    assert not bar(3.0, 2.0).holds
    assert not BenchReport("x", {}, {}, {}, {"a": bar(1, 2), "b": bar(3, 2)}).holds
