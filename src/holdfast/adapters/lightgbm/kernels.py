"""The walk of one row through packed trees, as machine code.

Most of a single row's time goes into waiting: for memory, and for branches that were guessed wrong. So a split
takes 16 bytes, its children stand side by side, and which of them comes next is the result of one comparison,
added. What a comparison needs to know of missing values and categories is settled once for each row, before
the walk; leaves lead to themselves, so that several trees go down together for as many steps as the deepest.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype, njit, types

NODE = np.dtype([("threshold", "<f8"), ("child", "<u4"), ("slot", "<u4")], align=True)
"""A split: the row goes to `child` where the value in `slot` is at most the threshold, else to the next node.
A leaf: the threshold is its value, the child itself, and the slot `LEAF`."""
SLOT = np.dtype([("feature", "<i4"), ("set", "<i4"), ("missing", "<i4"), ("left", "<i4")], align=True)
"""What comparisons read: a feature whose missing values go left or right, or whether it is in a category set."""

LEAF = 0
"""The slot of leaves: at most any value."""
NO_SET = -1
"""Stands for the set of a slot that is compared as a number."""
NONE, ZERO, NAN = 0, 1, 2
"""What counts as missing at a split: nothing, zero, or NaN."""
NEAR_ZERO = float(np.float32(1e-35))
"""Values up to here count as zero, as LightGBM has it."""
TOGETHER = 8
"""Trees that go down together, so that one's waiting is another's time."""

_nodes = types.Array(from_dtype(NODE), 1, "C", readonly=True)
_slots = types.Array(from_dtype(SLOT), 1, "C", readonly=True)
_ints = types.Array(types.int64, 1, "C", readonly=True)
_words = types.Array(types.uint32, 1, "C", readonly=True)
_floats = types.Array(types.float64, 1, "C", readonly=True)


@njit(types.float64(_nodes, _ints, _ints, _slots, _ints, _words, _floats), cache=True, nogil=True)
def walk(nodes, roots, steps, slots, edges, sets, x):
    """Return the sum of the leaves that a row ends in, tree after tree.

    Parameters
    ----------
    nodes : splits and leaves of all trees
    roots : (trees,) where each tree begins
    steps : of each `TOGETHER` trees the depth of the deepest
    slots : what the nodes read; the first is `LEAF`
    edges, sets : where each category set begins, and the bits of all sets, 32 a word
    x : (k,) features
    """
    values = np.empty(len(slots))
    values[LEAF] = -np.inf
    for place in range(LEAF + 1, len(slots)):
        slot = slots[place]
        value = x[slot["feature"]]
        chosen = slot["set"]
        if chosen != NO_SET:
            values[place] = 1.0
            if value >= 0.0 and value < 2147483648.0 or value > -1.0 and value < 0.0:
                code = np.int64(value)
                word = edges[chosen] + (code >> 5)
                if word < edges[chosen + 1] and (sets[word] >> np.uint32(code & 31)) & np.uint32(1):
                    values[place] = -1.0
            continue
        missing = slot["missing"]
        is_nan = value != value
        is_zero = value >= -NEAR_ZERO and value <= NEAR_ZERO
        if is_nan and missing == NAN or (is_nan or is_zero) and missing == ZERO:
            values[place] = -np.inf if slot["left"] else np.nan  # which is at most nothing
        elif is_nan or is_zero:  # the library leaves these out of a row, and what is left out is zero
            values[place] = 0.0
        else:
            values[place] = value
    total = 0.0
    at = np.zeros(TOGETHER, np.uint64)
    for turn in range(len(steps)):
        first = turn * TOGETHER
        n = min(TOGETHER, len(roots) - first)
        for tree in range(n):
            at[tree] = roots[first + tree]
        for _ in range(steps[turn]):
            for tree in range(TOGETHER):
                node = nodes[at[tree]]
                at[tree] = np.uint64(node["child"]) + np.uint64(not values[node["slot"]] <= node["threshold"])
        for tree in range(n):
            total += nodes[at[tree]]["threshold"]
    return total
