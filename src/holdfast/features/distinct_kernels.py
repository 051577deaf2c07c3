"""Sets of int64 values that become HyperLogLog registers above a size, for the window and online kernels.

A set stands in an array: n >= 0 values ascending, or, where n is `REGISTERS`, 8 registers of a byte in each
of `exact` words. It is the same for the same values, whatever their order. The numbers are those of
`holdfast.features.sketch`. All of it also runs as plain Python.
"""

from __future__ import annotations

import math

from numba.extending import register_jitable

REGISTERS = -1
"""In the place of the number of values: they are registers."""
RANKS = 34
"""Values of a register."""
WIDTH = 8
"""Registers in a word."""

_LOW = 0xFFFFFFFF
_UNIT = 2.0 * math.log(2.0)


@register_jitable
def times32(a, b):
    """Low 32 bits of a x b, for two numbers of 32 bits."""
    return ((((a * (b >> 16)) & 0xFFFF) << 16) + a * (b & 0xFFFF)) & _LOW


@register_jitable
def mix32(x):
    """A permutation of 32 bits."""
    x ^= x >> 16
    x = times32(x, 0x85EBCA6B)
    x ^= x >> 13
    x = times32(x, 0xC2B2AE35)
    return x ^ (x >> 16)


@register_jitable
def scramble(v):
    """Two words of 32 mixed bits of an int64."""
    left, right = (v >> 32) & _LOW, v & _LOW
    left, right = right, left ^ mix32((right + 0x9E3779B9) & _LOW)
    left, right = right, left ^ mix32((right + 0x7F4A7C15) & _LOW)
    left, right = right, left ^ mix32((right + 0xBF58476D) & _LOW)
    left, right = right, left ^ mix32((right + 0x94D049BB) & _LOW)
    return left, right


@register_jitable
def rank_of(word):
    """One more than the leading zeros of a number of 32 bits."""
    rank = 33
    while word:
        word >>= 1
        rank -= 1
    return rank


@register_jitable
def set_register(a, at, exact, v):
    """Let a value raise its register among those at a[at:]."""
    left, right = scramble(v)
    place = right & (WIDTH * exact - 1)
    word, shift = at + (place >> 3), (place & 7) << 3
    rank = rank_of(left)
    held = (a[word] >> shift) & 0xFF
    if rank > held:
        a[word] += (rank - held) << shift


@register_jitable
def to_registers(a, at, n, exact, spare):
    """Turn the n values at a[at:] into registers; `spare` holds them meanwhile."""
    for i in range(n):
        spare[i] = a[at + i]
    for i in range(exact):
        a[at + i] = 0
    for i in range(n):
        set_register(a, at, exact, spare[i])


@register_jitable
def add_value(a, at, n, v, exact, spare):
    """Take a value into the set of n at a[at:]; return the new n."""
    if n < 0:
        set_register(a, at, exact, v)
        return n
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if a[at + middle] < v:
            low = middle + 1
        else:
            high = middle
    if low < n and a[at + low] == v:
        return n
    if n == exact:
        to_registers(a, at, n, exact, spare)
        set_register(a, at, exact, v)
        return REGISTERS
    for i in range(n, low, -1):
        a[at + i] = a[at + i - 1]
    a[at + low] = v
    return n + 1


@register_jitable
def add_set(a, at, n, b, bt, m, exact, spare):
    """Take the set of m at b[bt:] into the set of n at a[at:]; return the new n."""
    if m >= 0:
        for i in range(m):
            n = add_value(a, at, n, b[bt + i], exact, spare)
        return n
    if n >= 0:
        to_registers(a, at, n, exact, spare)
    for i in range(exact):
        mine, other = a[at + i], b[bt + i]
        for shift in range(0, 64, 8):
            held, more = (mine >> shift) & 0xFF, (other >> shift) & 0xFF
            if more > held:
                mine += (more - held) << shift
        a[at + i] = mine
    return REGISTERS


@register_jitable
def estimate(tally, m, exact):
    """About how many different values gave m registers, of which tally[r] hold r."""
    z = 0.0
    x = (m - tally[RANKS - 1]) / m
    if 0.0 < x < 1.0:
        y, z, before = 1.0, 1.0 - x, -1.0
        while z != before:
            x = math.sqrt(x)
            before = z
            y *= 0.5
            z -= (1.0 - x) * (1.0 - x) * y
        z = z / 3.0
    z = m * z
    for rank in range(RANKS - 2, 0, -1):
        z = 0.5 * (z + tally[rank])
    x = tally[0] / m
    if x == 1.0:
        return 0
    y, sigma, before = 1.0, x, -1.0
    while sigma != before:
        x *= x
        before = sigma
        sigma += x * y
        y += y
    z += m * sigma
    return max(exact + 1, int(math.floor(m * m / _UNIT / z + 0.5)))


@register_jitable
def size_of(a, at, n, exact, tally):
    """How many different values the set of n at a[at:] has, exactly or about; `tally` (RANKS,) is scratch."""
    if n >= 0:
        return n
    for rank in range(RANKS):
        tally[rank] = 0
    for i in range(exact):
        for shift in range(0, 64, 8):
            tally[(a[at + i] >> shift) & 0xFF] += 1
    return estimate(tally, WIDTH * exact, exact)
