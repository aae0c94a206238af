"""Coefficients of interpolating cubic B-splines: the loops over voxels, compiled by numba."""
# Compiled functions have no annotations: numba finds their types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from rtflow.nodes.compiling import compiled
from rtflow.nodes.kernels import AFTER, BEFORE

# Pole of the recursive filter of cubic B-splines (Unser 1999, box 2), and its impulse response, cut off where
# it has sunk to 2e-6.
_POLE = math.sqrt(3.0) - 2.0
_REACH = 10
_RESPONSE = np.array([_POLE**n for n in range(_REACH + 1)])
_RESPONSE = (_RESPONSE / (_RESPONSE[0] + 2.0 * _RESPONSE[1:].sum())).astype(np.float32)


@compiled()
def prefilter(padded, out):
    """Coefficients of the spline through the voxels, of a volume continued by its mirror image.

    Along i by the filter's impulse response, along j and k by its recursion (Unser 1999, box 2) over whole
    rows at a time.

    Parameters
    ----------
    padded
        The voxels, shape (k, j, i) with the padding, float32; the padding is not read.
    out
        The same shape: becomes the coefficients; the padding stays as it is.
    """
    border = BEFORE + AFTER
    nk, nj, ni = padded.shape[0] - border, padded.shape[1] - border, padded.shape[2] - border
    gain = np.float32(36.0)
    line = np.empty(ni + 2 * _REACH, np.float32)
    for k in range(BEFORE, BEFORE + nk):
        for j in range(BEFORE, BEFORE + nj):
            voxels = padded[k, j, BEFORE : BEFORE + ni]
            line[_REACH : _REACH + ni] = voxels
            for n in range(_REACH):
                line[_REACH - 1 - n] = voxels[_mirror(-1 - n, ni)]
                line[_REACH + ni + n] = voxels[_mirror(ni + n, ni)]
            _respond(line, gain, out[k, j, BEFORE : BEFORE + ni])
        _recurse(out[k, BEFORE : BEFORE + nj, BEFORE : BEFORE + ni])
    for j in range(BEFORE, BEFORE + nj):
        _recurse(out[BEFORE : BEFORE + nk, j, BEFORE : BEFORE + ni])


@compiled()
def _mirror(n, size):
    period = 2 * size - 2
    n = n % period
    return n if n < size else period - n


@compiled()
def _respond(line, gain, out):
    r0, r1, r2, r3 = _RESPONSE[0] * gain, _RESPONSE[1] * gain, _RESPONSE[2] * gain, _RESPONSE[3] * gain
    r4, r5, r6, r7 = _RESPONSE[4] * gain, _RESPONSE[5] * gain, _RESPONSE[6] * gain, _RESPONSE[7] * gain
    r8, r9, r10 = _RESPONSE[8] * gain, _RESPONSE[9] * gain, _RESPONSE[10] * gain
    for n in range(out.size):
        out[n] = (
            r0 * line[n + 10]
            + r1 * (line[n + 9] + line[n + 11])
            + r2 * (line[n + 8] + line[n + 12])
            + r3 * (line[n + 7] + line[n + 13])
            + r4 * (line[n + 6] + line[n + 14])
            + r5 * (line[n + 5] + line[n + 15])
            + r6 * (line[n + 4] + line[n + 16])
            + r7 * (line[n + 3] + line[n + 17])
            + r8 * (line[n + 2] + line[n + 18])
            + r9 * (line[n + 1] + line[n + 19])
            + r10 * (line[n] + line[n + 20])
        )


@compiled()
def _recurse(rows):
    """Filter along the first axis, in place."""
    pole = np.float32(_POLE)
    count, size = rows.shape
    # The causal filter has come from far away, through the mirror image.
    first = np.zeros(size, np.float32)
    factor = np.float32(1.0)
    for n in range(2 * _REACH):
        line = rows[_mirror(n, count)]
        for i in range(size):
            first[i] += factor * line[i]
        factor *= pole
    rows[0] = first
    for n in range(1, count):
        line, before = rows[n], rows[n - 1]
        for i in range(size):
            line[i] += pole * before[i]
    line, before = rows[count - 1], rows[count - 2]
    end = np.float32(_POLE / (_POLE * _POLE - 1.0))
    for i in range(size):
        line[i] = end * (line[i] + pole * before[i])
    for n in range(count - 2, -1, -1):
        line, after = rows[n], rows[n + 1]
        for i in range(size):
            line[i] = pole * (after[i] - line[i])
