"""Sampling a volume at moved points: the loops over voxels, compiled by numba.

Volumes stand here as flat float32 arrays of padded cubic B-spline coefficients in the order k, j, i (i varies
fastest, as scanners send it); `spline` makes them. What makes these loops fast is that a head
turns little: along a row of the grid the 4 x 4 x 4 coefficients about a point move on by one with each
voxel, until one of its three positions passes a whole number. Between two such passages the coefficients are
read in the order in which they lie, and the processor works on 8 or 16 points at once.

All functions run on one thread: a volume takes milliseconds, and the other cores have other nodes.
"""
# Compiled functions have no annotations: numba finds their types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from rtflow.nodes.images.compiling import compiled

#: Points are computed this many at a time, the last ones of a row too: arrays have as many spare elements.
LANES = 16

#: Coefficients before and after those of the voxels along each axis: a spline rests on four.
BEFORE, AFTER = 1, 2

# So far inside the outermost centres, in voxels, rounding does not lead beyond them.
_INSIDE = 1e-6

# Unsigned, because numba counts signed indices from the end where they are negative, and looks each time.
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)


@compiled(inline="always")
def _weights(past):
    """Weights of the four coefficients about a point that lies ``past`` (0 to 1) the second of them."""
    short = np.float32(1.0) - past
    first = short * short * short * np.float32(1.0 / 6.0)
    fourth = past * past * past * np.float32(1.0 / 6.0)
    second = np.float32(2.0 / 3.0) - past * past * (np.float32(1.0) - np.float32(0.5) * past)
    return first, second, np.float32(1.0) - first - second - fourth, fourth


@compiled(inline="always")
def _line(flat, at, i0, i1, i2, i3):
    return i0 * flat[at] + i1 * flat[at + _ONE] + i2 * flat[at + _TWO] + i3 * flat[at + _THREE]


@compiled(inline="always")
def _plane(flat, at, row, i0, i1, i2, i3, j0, j1, j2, j3):
    return (
        j0 * _line(flat, at, i0, i1, i2, i3)
        + j1 * _line(flat, at + row, i0, i1, i2, i3)
        + j2 * _line(flat, at + _TWO * row, i0, i1, i2, i3)
        + j3 * _line(flat, at + _THREE * row, i0, i1, i2, i3)
    )


@compiled(forceinline=True)
def _evaluate(flat, base, row, plane, x, y, z, dx, dy, dz, out, begin, groups):
    """Values of the spline at points that move on by a coefficient each, into ``out`` from ``begin`` on.

    ``base`` is the first of the 64 coefficients about the first point, which lies x, y, z (0 to 1) past the
    second along each axis; dx, dy, dz is how the following ones lag or lead.
    """
    for group in range(groups):
        done = np.float32(LANES * group)
        from_flat, from_out = base + np.uint64(LANES * group), begin + np.uint64(LANES * group)
        for n in range(LANES):
            t = done + np.float32(n)
            at = from_flat + np.uint64(n)
            i0, i1, i2, i3 = _weights(x + t * dx)
            j0, j1, j2, j3 = _weights(y + t * dy)
            k0, k1, k2, k3 = _weights(z + t * dz)
            out[from_out + np.uint64(n)] = (
                k0 * _plane(flat, at, row, i0, i1, i2, i3, j0, j1, j2, j3)
                + k1 * _plane(flat, at + plane, row, i0, i1, i2, i3, j0, j1, j2, j3)
                + k2 * _plane(flat, at + _TWO * plane, row, i0, i1, i2, i3, j0, j1, j2, j3)
                + k3 * _plane(flat, at + _THREE * plane, row, i0, i1, i2, i3, j0, j1, j2, j3)
            )


@compiled(forceinline=True)
def _inverse(step):
    """1 / step; of a step too small to lead anywhere, a number as large as is needed."""
    return 1.0 / step if abs(step) > 1e-9 else 1e9


@compiled(forceinline=True)
def _within(low, high, start, inverse, first, last):
    """Narrow the range low:high of steps to those at which start + n / inverse is between first and last."""
    enter, leave = (first - start) * inverse, (last - start) * inverse
    if inverse < 0.0:
        enter, leave = leave, enter
    if enter > low:
        low = min(high, math.ceil(enter))
    if leave < high - 1:
        high = max(low, math.floor(leave) + 1)
    return low, high


@compiled(forceinline=True)
def _stay(at, step, size):
    """The centre before a position, how far past it that is, its change a step, and for how many steps.

    Beyond the outermost centres the position is that of the nearest.
    """
    if at < 0.0:
        return 0, 0.0, 0.0, (-at / step if step > 0.0 else 1e9)
    if at >= size - 1:
        return size - 1, 0.0, 0.0, ((at - size + 1) / -step if step < 0.0 else 1e9)
    whole = math.floor(at)
    past = at - whole
    steps = 1e9
    if step > 1e-9:
        steps = (1.0 - past) / step
    elif step < -1e-9:
        steps = past / -step
    return whole, past, step, steps


@compiled(forceinline=True)
def _row(flat, sizes, strides, x, y, z, dx, dy, dz, low, high, out, begin):
    """Values at (x, y, z) + (dx, dy, dz) * n, n from low to high.

    They go to ``out`` from ``begin`` + low on, and up to `LANES` beyond the last are overwritten.
    """
    n = low
    while n < high:
        # Along i the coefficients move on by one with each point; what changes is the lead or lag.
        at = x + n * dx
        i, past_i, change_i, steps = _stay(at, dx - 1.0, sizes[0])
        if at < 0.0 or at >= sizes[0] - 1:
            steps = 1.0
        elif dx > 0.0:
            steps = min(steps, (sizes[0] - 1 - at) / dx)
        j, past_j, change_j, steps_j = _stay(y + n * dy, dy, sizes[1])
        k, past_k, change_k, steps_k = _stay(z + n * dz, dz, sizes[2])
        steps = min(min(steps, steps_j), min(steps_k, float(high - n)))
        count = max(1, math.ceil(steps))
        _evaluate(
            flat,
            np.uint64(k * strides[1] + j * strides[0] + i),
            np.uint64(strides[0]),
            np.uint64(strides[1]),
            np.float32(past_i),
            np.float32(past_j),
            np.float32(past_k),
            np.float32(change_i),
            np.float32(change_j),
            np.float32(change_k),
            out,
            np.uint64(begin + n),
            (count + LANES - 1) // LANES,
        )
        n += count


@compiled(forceinline=True)
def _inner_row(flat, strides, x, y, z, dx, dy, dz, inverses, low, high, out, begin):
    """As `_row`, for points that all lie between the outermost centres (by `_INSIDE`); without divisions."""
    lead = dx - 1.0
    i, next_i, each_i, turn_i = _first(x + low * dx, inverses[3], low)
    j, next_j, each_j, turn_j = _first(y + low * dy, inverses[1], low)
    k, next_k, each_k, turn_k = _first(z + low * dz, inverses[2], low)
    n = low
    while n < high:
        end = min(high, max(n + 1, math.ceil(min(next_i, min(next_j, next_k)))))
        _evaluate(
            flat,
            np.uint64(k * strides[1] + j * strides[0] + i + n - low),
            np.uint64(strides[0]),
            np.uint64(strides[1]),
            np.float32(x + low + n * lead - i),
            np.float32(y + n * dy - j),
            np.float32(z + n * dz - k),
            np.float32(lead),
            np.float32(dy),
            np.float32(dz),
            out,
            np.uint64(begin + n),
            (end - n + LANES - 1) // LANES,
        )
        n = end
        while next_i <= n:
            next_i += each_i
            i += turn_i
        while next_j <= n:
            next_j += each_j
            j += turn_j
        while next_k <= n:
            next_k += each_k
            k += turn_k


@compiled(forceinline=True)
def _first(at, inverse, low):
    """Centre before the first point, the step at which the next takes over, steps between, direction."""
    whole = math.floor(at)
    past = at - whole
    if inverse > 0.0:
        return whole, low + (1.0 - past) * inverse, inverse, 1
    # The last point on this side may lie on the centre itself.
    return whole, low - past * inverse + 1e-9, -inverse, -1


@compiled(forceinline=True)
def _clear(out, begin, end):
    for n in range(begin, end):
        out[np.uint64(n)] = 0.0


@compiled(forceinline=True)
def _steps_within(low, high, sizes, margin, x, y, z, inverses):
    """Narrow low:high to the points that lie at least ``margin`` inside the outermost centres."""
    low, high = _within(low, high, x, inverses[0], margin, sizes[0] - 1 - margin)
    low, high = _within(low, high, y, inverses[1], margin, sizes[1] - 1 - margin)
    return _within(low, high, z, inverses[2], margin, sizes[2] - 1 - margin)


@compiled(forceinline=True)
def _layout(shape):
    sizes = (np.int64(shape[0]), np.int64(shape[1]), np.int64(shape[2]))
    row = sizes[0] + BEFORE + AFTER
    return sizes, (row, row * (sizes[1] + BEFORE + AFTER))


@compiled()
def resample(flat, shape, move, chosen, out):
    """Values on a grid.

    Parameters
    ----------
    flat, shape
        Padded coefficients, float32; voxels along i, j, k, int64, shape (3,).
    move
        4x4, float64: voxel indices of the grid to voxel indices of the volume.
    chosen
        Shape (j, k, 2), int64: from which i to which i values are wanted.
    out
        Shape (i, j, k), float32. Beyond half a voxel from the outermost centres, and where no value is
        wanted, it becomes 0.
    """
    sizes, strides = _layout(shape)
    ni, nj, nk = out.shape
    width = ni + LANES
    slab = np.zeros(nk * width, np.float32)
    dx, dy, dz = move[0, 0], move[1, 0], move[2, 0]
    inverses = (_inverse(dx), _inverse(dy), _inverse(dz), _inverse(dx - 1.0))
    for j in range(nj):
        for k in range(nk):
            x = move[0, 1] * j + move[0, 2] * k + move[0, 3]
            y = move[1, 1] * j + move[1, 2] * k + move[1, 3]
            z = move[2, 1] * j + move[2, 2] * k + move[2, 3]
            low, high = _steps_within(chosen[j, k, 0], chosen[j, k, 1], sizes, -0.5, x, y, z, inverses)
            begin = k * width
            _clear(slab, begin, begin + low)
            first, last = _steps_within(low, high, sizes, _INSIDE, x, y, z, inverses)
            _row(flat, sizes, strides, x, y, z, dx, dy, dz, low, first, slab, begin)
            _inner_row(flat, strides, x, y, z, dx, dy, dz, inverses, first, last, slab, begin)
            _row(flat, sizes, strides, x, y, z, dx, dy, dz, last, high, slab, begin)
            _clear(slab, begin + high, begin + ni)
        # Rows of `out` run along k.
        for i in range(ni):
            for k in range(nk):
                out[i, j, k] = slab[np.uint64(k * width + i)]


@compiled()
def sample(flat, shape, move, runs, out):
    """Values along runs of voxels of a grid.

    Parameters
    ----------
    flat, shape, move
        As for `resample`.
    runs
        Shape (n, 4), int32: i, j, k of the first voxel, and how many there are along i.
    out
        Shape (points + `LANES`,), float32: becomes the values, NaN where the spline would rest on less than
        the voxels about the point.

    Returns
    -------
    How many points have a value, and how many lie in the field of view.
    """
    sizes, strides = _layout(shape)
    dx, dy, dz = move[0, 0], move[1, 0], move[2, 0]
    inverses = (_inverse(dx), _inverse(dy), _inverse(dz), _inverse(dx - 1.0))
    begin, seen, viewed = 0, 0, 0
    for n in range(runs.shape[0]):
        i, j, k, count = runs[n, 0], runs[n, 1], runs[n, 2], np.int64(runs[n, 3])
        x = move[0, 0] * i + move[0, 1] * j + move[0, 2] * k + move[0, 3]
        y = move[1, 0] * i + move[1, 1] * j + move[1, 2] * k + move[1, 3]
        z = move[2, 0] * i + move[2, 1] * j + move[2, 2] * k + move[2, 3]
        low, high = _steps_within(np.int64(0), count, sizes, 1.0, x, y, z, inverses)
        first, last = _steps_within(np.int64(0), count, sizes, -0.5, x, y, z, inverses)
        _inner_row(flat, strides, x, y, z, dx, dy, dz, inverses, low, high, out, begin)
        for m in range(low):
            out[begin + m] = np.nan
        for m in range(high, count):
            out[begin + m] = np.nan
        begin += count
        seen += high - low
        viewed += last - first
    return seen, viewed


@compiled()
def slice_sums(flat, shape, runs, sums):
    """Sums of the coefficients of each slice over runs of voxels.

    Parameters
    ----------
    flat, shape
        As for `resample`.
    runs
        As for `sample`, but voxels of the volume itself.
    sums
        Shape (k,), float64: becomes the sums.
    """
    _, (row, plane) = _layout(shape)
    sums[:] = 0.0
    for n in range(runs.shape[0]):
        i, j, k, count = np.int64(runs[n, 0]), runs[n, 1], runs[n, 2], runs[n, 3]
        begin = np.uint64((k + BEFORE) * plane + (j + BEFORE) * row + i + BEFORE)
        total = np.float32(0.0)
        for m in range(count):
            total += flat[begin + np.uint64(m)]
        sums[k] += total
