"""Kernels that bring rows together by entity: numbers for words of 64 bits, and a counting sort by number.

A word is a hash of a key; that equal words mean equal keys is checked by who calls
(`holdfast.features.grouping`). They also run as plain Python.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

_ints = types.Array(types.int64, 1, "C", readonly=True)
_bools = types.Array(types.boolean, 1, "C", readonly=True)
_out = types.int64[::1]


@register_jitable
def place_of(word, held, slots):
    """Where a word stands in an open table, or the free place where it would."""
    mask = slots.size - 1
    place = (word ^ (word >> 32)) & mask
    while slots[place] >= 0 and held[place] != word:
        place = (place + 1) & mask
    return place


@njit(
    types.Tuple((_out, _out, _out, _out))(_ints, _bools),
    cache=True, error_model="numpy", nogil=True,
)  # fmt: skip
def number_words(words, keyed):
    """Number words in the order in which they come; rows without a key have -1.

    Returns (codes (n,), first (k,), held (s,), slots (s,)): the row where each number came first, and the
    table, of words and their numbers, that `find_words` looks into. O(n) expected.
    """
    codes = np.full(words.size, -1, np.int64)
    first = np.empty(512, np.int64)
    held = np.empty(1024, np.int64)
    slots = np.full(1024, -1, np.int64)
    n = 0
    for i in range(words.size):
        if not keyed[i]:
            continue
        place = place_of(words[i], held, slots)
        if slots[place] < 0:
            if n == first.size:  # half full: twice the table
                more = np.empty(2 * first.size, np.int64)
                more[:n] = first
                first = more
                held = np.empty(2 * held.size, np.int64)
                slots = np.full(held.size, -1, np.int64)
                for known in range(n):
                    place = place_of(words[first[known]], held, slots)
                    held[place] = words[first[known]]
                    slots[place] = known
                place = place_of(words[i], held, slots)
            held[place] = words[i]
            slots[place] = n
            first[n] = i
            n += 1
        codes[i] = slots[place]
    return codes, first[:n].copy(), held, slots


@njit(types.void(_ints, _bools, _ints, _ints, _out), cache=True, error_model="numpy", nogil=True)
def find_words(words, keyed, held, slots, codes):
    """Write the number of each word into `codes` (n,); -1 where it has none, or its row no key."""
    for i in range(words.size):
        codes[i] = slots[place_of(words[i], held, slots)] if keyed[i] else -1


@njit(types.Tuple((_out, _out))(_ints, types.int64), cache=True, error_model="numpy", nogil=True)
def counting_order(codes, groups):
    """Stable order of rows by group code, and where each group starts; codes below 0 are left out.

    O(rows + groups). Returns (order (k,), start (groups + 1,)).
    """
    start = np.zeros(groups + 1, np.int64)
    for i in range(codes.size):
        if codes[i] >= 0:
            start[codes[i] + 1] += 1
    for g in range(groups):
        start[g + 1] += start[g]
    at = start[:-1].copy()
    order = np.empty(start[groups], np.int64)
    for i in range(codes.size):
        g = codes[i]
        if g >= 0:
            order[at[g]] = i
            at[g] += 1
    return order, start
