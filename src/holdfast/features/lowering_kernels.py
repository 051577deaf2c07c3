"""Lowering: from what is collected of a window's events to its aggregates, for the window and online kernels.

Sums of squares are two sums in base 2^32, and 128-bit results are four limbs of 32 bits, so nothing wraps and
all of it also runs as plain Python.
"""

from __future__ import annotations

import math

from numba.extending import register_jitable

COUNT, SUM, MEAN, STD, MIN, MAX, VAR, FIRST, LAST, DISTINCT, SINCE, AS_OF = range(12)
"""Rows of the third axis of `slots`, in the order of `holdfast.features.aggregate.AGGREGATES`."""
KINDS = 12

STATES = 10
"""Rows of the states that aggregates are lowered from: n, S, Q high, Q low, least, most, the first and the last
value, microseconds since the last event, and how many different values there are."""

MAX_EVENTS = 2**31
"""A window holds fewer events than this."""

MAX_MOMENT_SCALE = 13
"""Greatest scale of a column in mean or std: 5^(2 x 13) still fits 63 bits."""

_LOW = 0xFFFFFFFF
_HIGHEST = 2**63 - 1
MISSING = -(2**63)
"""A missing value among rows that are read as they are (`AS_OF`)."""


# ------------------------------------------------------------------------------------- 128-bit arithmetic
@register_jitable
def product(a, b):
    """(high, low) in base 2^32 of a x b, for 0 <= a, b <= 2^32."""
    u = a * (b >> 16)
    v = ((u & 0xFFFF) << 16) + a * (b & 0xFFFF)
    return (u >> 16) + (v >> 32), v & _LOW


@register_jitable
def nearest(w3, w2, w1, w0):
    """The double nearest to a number of four limbs below 2^126, ties to even."""
    high = (w3 << 32) | w2
    if high == 0:
        if w1 < 1 << 31:
            return float((w1 << 32) | w0)
        return 2.0 * float((w1 << 31) | (w0 >> 1) | (w0 & 1))
    free = 62  # leading zeros of `high`, as a number of 62 bits
    rest = high
    for step in (32, 16, 8, 4, 2, 1):
        if rest >> step:
            rest >>= step
            free -= step
    free -= 1
    if free <= 32:
        top = (high << free) | (w1 >> (32 - free))
        lost = (w1 & ((1 << (32 - free)) - 1)) | w0
    else:
        top = (high << free) | (w1 << (free - 32)) | (w0 >> (64 - free))
        lost = w0 & ((1 << (64 - free)) - 1)
    if lost:
        top |= 1  # nine bits below the rounding position: only says "not a tie"
    return math.ldexp(float(top), 64 - free)


@register_jitable
def spread(n, S, qh, ql):
    """n x Q - S^2 as a double, where Q = qh x 2^32 + ql, n < 2^31 and |S| < 2^63."""
    q1 = qh + (ql >> 32)
    p = n * (ql & _LOW)
    r0 = p & _LOW
    p = n * (q1 & _LOW) + (p >> 32)
    r1 = p & _LOW
    p = n * (q1 >> 32) + (p >> 32)
    r2 = p & _LOW
    r3 = p >> 32

    size = abs(S)
    s0, s1 = size & _LOW, size >> 32
    h, l = product(s0, s0)
    cross, d = s0 * s1, s1 * s1
    r0 -= l
    c = h + 2 * (cross & _LOW)
    r1 -= c & _LOW
    c = (c >> 32) + 2 * (cross >> 32) + (d & _LOW)
    r2 -= c & _LOW
    r3 -= (c >> 32) + (d >> 32)

    r1 += r0 >> 32  # arithmetic shifts carry the borrows
    r2 += r1 >> 32
    r3 += r2 >> 32
    return nearest(r3, r2 & _LOW, r1 & _LOW, r0 & _LOW)


@register_jitable
def pairs(n, factor):
    """n x (n - 1) x factor as a double, for n < 2^31 and factor < 2^63."""
    m = n * (n - 1)
    a0, a1, b0, b1 = m & _LOW, m >> 32, factor & _LOW, factor >> 32
    h, r0 = product(a0, b0)
    x, y, d = a1 * b0, a0 * b1, a1 * b1
    c = h + (x & _LOW) + (y & _LOW)
    r1 = c & _LOW
    c = (c >> 32) + (x >> 32) + (y >> 32) + (d & _LOW)
    return nearest((c >> 32) + (d >> 32), c & _LOW, r1, r0)


# ------------------------------------------------------------------------------------------------ lowering
@register_jitable
def lower(out, bits, rows, slots, scale, is_float, states):
    """Write the aggregates of one window of one lane that are asked for; empty windows stay as they are.

    `rows` (r,) says where, `slots` (KINDS,) in which row of `out`; `states` (STATES, r) holds what they are
    lowered from.
    """
    five, two, ten = 1, 1.0, 1.0
    for _ in range(scale):
        five *= 5  # 10^s = 5^s x 2^s, and a power of two never changes a rounding
        two *= 2.0
        ten *= 10.0
    n, S = states[0], states[1]
    k = slots[COUNT]
    if k >= 0:
        for r in range(rows.size):
            if n[r]:
                out[k, rows[r]] = float(n[r])
    k = slots[SUM]
    if k >= 0:
        for r in range(rows.size):
            if n[r]:
                out[k, rows[r]] = float(S[r]) / ten
    k = slots[MEAN]
    if k >= 0:
        for r in range(rows.size):
            if n[r]:
                out[k, rows[r]] = float(S[r]) / (float(n[r] * five) * two)
    k, root = slots[VAR], slots[STD]
    if k >= 0 or root >= 0:
        for r in range(rows.size):
            if n[r] > 1:
                variance = spread(n[r], S[r], states[2, r], states[3, r]) / (
                    pairs(n[r], five * five) * two * two
                )
                if k >= 0:
                    out[k, rows[r]] = variance
                if root >= 0:
                    out[root, rows[r]] = math.sqrt(variance)
    for kind in range(MIN, KINDS):
        k = slots[kind]
        if k < 0 or kind == VAR or kind == DISTINCT or kind == SINCE:
            continue
        # least and most stand where their kinds do, then first, and last for both kinds of last
        one = states[kind] if kind <= MAX else states[6] if kind == FIRST else states[7]
        for r in range(rows.size):
            if n[r] == 0 or (kind == AS_OF and one[r] == MISSING):
                continue
            if is_float:
                bits[k, rows[r]] = one[r] if one[r] >= 0 else one[r] ^ _HIGHEST
            else:
                out[k, rows[r]] = float(one[r]) / ten
    k = slots[SINCE]
    if k >= 0:
        for r in range(rows.size):
            if n[r]:
                out[k, rows[r]] = float(states[8, r]) / 1e6
    k = slots[DISTINCT]
    if k >= 0:
        for r in range(rows.size):
            out[k, rows[r]] = float(states[9, r])
