"""Coefficients of interpolating cubic B-splines: the loops over voxels, compiled by numba."""
# Compiled functions have no annotations: numba finds their types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from rtflow.nodes.images.compiling import compiled
from rtflow.nodes.images.sampling import AFTER, BEFORE

# Pole of the recursive filter of cubic B-splines (Unser 1999, box 2), and its impulse response, cut off where
# it has sunk to 2e-6.
_POLE = math.sqrt(3.0) - 2.0
_REACH = 10
_RESPONSE = np.array([_POLE**n for n in range(_REACH + 1)])
_RESPONSE /= _RESPONSE[0] + 2.0 * _RESPONSE[1:].sum()
# With the gain of the recursions along j and k, 6 each.
_TAPS = tuple(np.float32(36.0 * tap) for tap in _RESPONSE)

# Unsigned, because numba looks each time whether a signed index counts from the end.
_U = tuple(np.uint64(n) for n in range(2 * _REACH + 1))


@compiled()
def prefilter(flat, shape, out):
    """Coefficients of the spline through the voxels, of a volume continued by its mirror image.

    Along i by the filter's impulse response, along j and k by its recursion (Unser 1999, box 2) over whole
    rows at a time: planes, and after that columns of rows, that stay in the processor's cache.

    Parameters
    ----------
    flat, shape
        The voxels, padded, float32; voxels along i, j, k, int64, shape (3,). The padding is not read.
    out
        The same shape: becomes the coefficients; the padding stays as it is.
    """
    ni, nj, nk = shape[0], shape[1], shape[2]
    row = ni + BEFORE + AFTER
    plane = row * (nj + BEFORE + AFTER)
    first = BEFORE * (plane + row + 1)
    line = np.empty(ni + 2 * _REACH, np.float32)
    start = np.empty(ni, np.float32)
    for k in range(nk):
        for j in range(nj):
            begin = first + k * plane + j * row
            for n in range(ni):
                line[_REACH + n] = flat[np.uint64(begin + n)]
            for n in range(_REACH):
                line[_REACH - 1 - n] = line[_REACH + _mirror(n + 1, ni)]
                line[_REACH + ni + n] = line[_REACH + _mirror(ni + n, ni)]
            _respond(line, out, np.uint64(begin), ni)
        _recurse(out, first + k * plane, row, nj, ni, start)
    for j in range(nj):
        _recurse(out, first + j * row, plane, nk, ni, start)


@compiled(forceinline=True)
def _mirror(n, size):
    while n >= size or n < 0:
        n = 2 * size - 2 - n if n >= size else -n
    return n


@compiled(forceinline=True)
def _respond(line, out, begin, size):
    r0, r1, r2, r3, r4, r5 = _TAPS[:6]
    r6, r7, r8, r9, r10 = _TAPS[6:]
    for m in range(size):
        n = np.uint64(m)
        out[begin + n] = (
            r0 * line[n + _U[10]]
            + r1 * (line[n + _U[9]] + line[n + _U[11]])
            + r2 * (line[n + _U[8]] + line[n + _U[12]])
            + r3 * (line[n + _U[7]] + line[n + _U[13]])
            + r4 * (line[n + _U[6]] + line[n + _U[14]])
            + r5 * (line[n + _U[5]] + line[n + _U[15]])
            + r6 * (line[n + _U[4]] + line[n + _U[16]])
            + r7 * (line[n + _U[3]] + line[n + _U[17]])
            + r8 * (line[n + _U[2]] + line[n + _U[18]])
            + r9 * (line[n + _U[1]] + line[n + _U[19]])
            + r10 * (line[n] + line[n + _U[20]])
        )


@compiled(forceinline=True)
def _recurse(out, begin, stride, count, size, start):
    """Filter across ``count`` rows that lie ``stride`` apart, in place."""
    pole = np.float32(_POLE)
    # The causal filter has come from far away, through the mirror image.
    for n in range(size):
        start[n] = out[np.uint64(begin + n)]
    factor = pole
    for m in range(1, 2 * _REACH):
        at = np.uint64(begin + _mirror(m, count) * stride)
        for n in range(size):
            start[n] += factor * out[at + np.uint64(n)]
        factor *= pole
    for n in range(size):
        out[np.uint64(begin + n)] = start[n]
    for m in range(1, count):
        _follow(out, np.uint64(begin + m * stride), np.uint64(begin + (m - 1) * stride), size)
    end = np.float32(_POLE / (_POLE * _POLE - 1.0))
    last, before = np.uint64(begin + (count - 1) * stride), np.uint64(begin + (count - 2) * stride)
    for m in range(size):
        n = np.uint64(m)
        out[last + n] = end * (out[last + n] + pole * out[before + n])
    for m in range(count - 2, -1, -1):
        _return(out, np.uint64(begin + m * stride), np.uint64(begin + (m + 1) * stride), size)


@compiled(forceinline=True)
def _follow(out, here, before, size):
    pole = np.float32(_POLE)
    for m in range(size):
        n = np.uint64(m)
        out[here + n] += pole * out[before + n]


@compiled(forceinline=True)
def _return(out, here, after, size):
    pole = np.float32(_POLE)
    for m in range(size):
        n = np.uint64(m)
        out[here + n] = pole * (out[after + n] - out[here + n])
