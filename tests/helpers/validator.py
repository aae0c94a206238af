"""The official BIDS validator, as a program."""

import json
import subprocess
import sys
from pathlib import Path


def bids_errors(root: Path) -> list[str]:
    """What the official validator calls an error in a data set: code, file and rule of each.

    Fails if the validator finds no file at all, or does not run: then it has found no error either.
    """
    done = subprocess.run(
        [Path(sys.executable).with_name("bids-validator-deno"), "--format", "json", str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["totalFiles"] > 0, done.stdout
    errors = [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"]
    assert (done.returncode != 0) == bool(errors), f"exit status {done.returncode}: {done.stderr}"
    return [
        " ".join(str(issue.get(name, "")) for name in ("code", "subCode", "location", "rule", "issueMessage"))
        for issue in errors
    ]
