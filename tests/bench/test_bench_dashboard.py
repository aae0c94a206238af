import json

import pytest
from typer.testing import CliRunner

from rtflow.bench import dashboard
from rtflow.cli.main import app


@pytest.mark.soak
def test_three_browsers_paint_what_the_run_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "_PHASE", 12)
    done = CliRunner().invoke(app, ["bench", "dashboard", "--json"])
    report = json.loads(done.stdout)
    figures = report["figures"]
    assert figures["points"] >= 3 * 8
    assert 0 < figures["painted_median_ms"] <= figures["painted_p95_ms"]
    assert 0 < figures["bytes_per_volume"] < 5000
    assert figures["engine_percent_alone"] > 0
    assert done.exit_code == (0 if report["bars"]["engine_percent_more"]["holds"] else 4)
