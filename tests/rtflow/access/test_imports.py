"""Agents run on Windows and macOS, on hosts that have little else."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_what_an_agent_needs_is_imported_without_posix_and_numpy() -> None:
    code = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'grp', 'resource', 'termios', 'numpy', 'nipype', 'aiohttp'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import importlib\n"
        "for path in Path('rtflow/access').glob('[a-z]*.py'):\n"
        "    importlib.import_module(f'rtflow.access.{path.stem}')\n"
        "print(len([name for name in sys.modules if name.startswith('rtflow.access.')]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list((ROOT / "rtflow" / "access").glob("[a-z]*.py")))
