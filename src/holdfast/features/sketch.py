"""The number of different values beyond what is counted exactly: a HyperLogLog, in plain Python.

It is a pure function of the set of values, so however a window is cut into tiles, the estimate has the same
bits. `holdfast.features.distinct_kernels` computes the same numbers; the oracle uses this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

_WORD = 0xFFFFFFFF
_KEYS = (0x9E3779B9, 0x7F4A7C15, 0xBF58476D, 0x94D049BB)
RANKS = 34
"""Values of a register: 0 untouched, then 1 to 33."""
WIDTH = 8
"""Registers for each value that is counted exactly."""


def scramble(value: int) -> tuple[int, int]:
    """Return 64 mixed bits of an int64 as two words: a permutation, so different values stay different."""
    left, right = value >> 32 & _WORD, value & _WORD
    for key in _KEYS:
        left, right = right, left ^ _mix(right + key & _WORD)
    return left, right


def _mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x85EBCA6B & _WORD
    x ^= x >> 13
    x = x * 0xC2B2AE35 & _WORD
    return x ^ x >> 16


def estimate(values: Iterable[int], exact: int) -> int:
    """Return how many different values there are, about; more than `exact`, a power of two.

    Notes
    -----
    The improved estimator of Ertl (2017), rounded: only additions, multiplications and square roots in a
    fixed order, so every machine gives the same number.
    """
    m = WIDTH * exact
    registers = [0] * m
    for value in values:
        left, right = scramble(value)
        place = right & (m - 1)
        registers[place] = max(registers[place], 33 - left.bit_length())
    tally = [registers.count(rank) for rank in range(RANKS)]
    z = m * _tau((m - tally[RANKS - 1]) / m)
    for rank in range(RANKS - 2, 0, -1):
        z = 0.5 * (z + tally[rank])
    z += m * _sigma(tally[0] / m)
    return max(exact + 1, math.floor(m * m / (2.0 * math.log(2.0)) / z + 0.5))


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1.0 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1.0 - x) * (1.0 - x) * y
    return z / 3.0
