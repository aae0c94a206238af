"""Machine code is kept where it can be, and read from there by the next process."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent(
    """
    import sys
    import numba
    from numba.core import caching
    import rtflow.nodes.images.compiling as compiling
    if sys.argv[1] == "read-only":
        def refuse(self):
            raise PermissionError(13, "read-only")
        for locator in (caching.InTreeCacheLocator, caching.UserWideCacheLocator):
            locator.ensure_cache_path = refuse
    import rtflow.nodes.images.prefilter as kernels
    assert kernels._mirror(-1, 5) == 1
    print(numba.config.CACHE_DIR, sum(kernels._mirror.stats.cache_hits.values()))
    """
)

VALUES = """
import hashlib
import numpy as np
from rtflow.nodes.images.gaussian import gaussian
from rtflow.nodes.images.reslice import reslice
from rtflow.nodes.images.spline import Spline
from rtflow.nodes.motion.reference import prepare
from rtflow.nodes.motion.registration import estimate

i, j, k = np.ogrid[-1.0:1.0:24j, -1.0:1.0:24j, -1.0:1.0:12j]
ball = 1000.0 * np.exp(-4.0 * (i**2 + j**2 + k**2) ** 2) * (1.0 + 0.3 * i - 0.2 * j)
ball += np.random.default_rng(0).standard_normal(ball.shape) * 5.0
moved = np.roll(ball, 1, 0) * 0.3 + ball * 0.7
affine = np.diag([8.0, 8.0, 8.0, 1.0])
reference = prepare(ball.astype("int16"), affine)
found = estimate(reference, moved.astype("int16"), affine)
results = {
    "estimate": found.transform,
    "reslice": reslice(moved, affine, found.transform, reference.grid),
    "gaussian": gaussian(moved.astype("float32"), (0.6, 0.6, 0.6)),
}
for name, values in results.items():
    print(name, hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest())
"""


def run(how, temporary):
    environment = {**os.environ, "TMPDIR": str(temporary)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], env=environment, capture_output=True, text=True, check=True
    )
    *folder, hits = done.stdout.split()
    return "".join(folder), int(hits)


def test_a_package_that_cannot_be_written_has_its_code_in_a_folder_of_the_users(tmp_path):
    folder, hits = run("read-only", tmp_path)
    assert folder == str(tmp_path / f"rtflow-numba-{os.getuid()}")
    assert hits == 0
    assert (tmp_path / f"rtflow-numba-{os.getuid()}").stat().st_mode & 0o077 == 0
    assert run("read-only", tmp_path) == (folder, 1)


def test_code_that_another_could_have_put_there_is_not_run(tmp_path):
    (tmp_path / f"rtflow-numba-{os.getuid()}").mkdir()
    (tmp_path / f"rtflow-numba-{os.getuid()}").chmod(0o777)
    assert run("read-only", tmp_path) == ("", 0)


def test_it_is_not_imported_before_it_is_used():
    program = "import sys; from rtflow.nodes import Realign; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_warmed_up_nothing_is_left_to_compile(dtype):
    program = textwrap.dedent(
        f"""
        import numpy as np
        from numba.core.event import install_recorder
        from rtflow.bids.grid import Grid
        from rtflow.nodes.motion.reference import prepare
        from rtflow.nodes.motion.registration import estimate, warm_up
        from rtflow.nodes.images.reslice import Places, reslice
        warm_up()
        i, j, k = np.ogrid[-1.2:1.2:20j, -1.2:1.2:20j, -1.2:1.2:16j]
        ball = (1000 * np.exp(-2 * (i**2 + j**2 + k**2)) * (1 + i / 3)).astype("{dtype}")
        affine = np.diag([8.0, 8.0, 8.0, 1.0])
        with install_recorder("numba:compile") as recorded:
            reference = prepare(ball, affine)
            moved = affine.copy()
            moved[:3, 3] = 1.0
            found = estimate(reference, np.asfortranarray(ball), moved)
            reslice(ball, moved, found.transform, reference.grid)
            reslice(ball, moved, found.transform, reference.grid, Places.of(reference.brain))
        assert not recorded.buffer, recorded.buffer
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_process_that_compiles_gives_the_bits_of_those_that_read_the_machine_code(tmp_path):
    said = [
        subprocess.run(
            [sys.executable, "-c", VALUES],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    ]
    assert said[0].count("\n") == 3
    assert said[0] == said[1]
    assert list(tmp_path.rglob("*.nbc")), "numba kept nothing: both processes compiled"
