"""The walk of one row through packed trees, as machine code.

Nodes are packed into 16 bytes, so that a row touches a fraction of the memory that separate arrays for
thresholds, features and children would take: most of a single row's time is waiting for memory.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype, njit, types

NODE = np.dtype(
    [("threshold", "<f8"), ("left", "<i2"), ("right", "<i2"), ("feature", "<u2"), ("kind", "<u2")], align=True
)
"""One split: children are splits of the same tree, or leaves where negative (``~leaf``)."""

CATEGORY, DEFAULT_LEFT = 1, 2
"""Bits of a split's kind; the two above them say what counts as missing."""
NONE, ZERO, NAN = 0, 1, 2
"""What counts as missing at a split: nothing, zero, or NaN."""
NEAR_ZERO = float(np.float32(1e-35))
"""Values up to here count as zero, as LightGBM has it."""

_nodes = types.Array(from_dtype(NODE), 1, "C", readonly=True)
_ints = types.Array(types.int64, 1, "C", readonly=True)
_words = types.Array(types.uint32, 1, "C", readonly=True)
_floats = types.Array(types.float64, 1, "C", readonly=True)


@njit(types.float64(_nodes, _ints, _ints, _floats, _ints, _words, _floats), cache=True, nogil=True)
def walk(nodes, first_node, first_leaf, leaves, edges, sets, x):
    """Return the sum of the leaves that a row ends in, tree after tree.

    Parameters
    ----------
    nodes : splits of all trees
    first_node, first_leaf : (trees + 1,) where each tree begins
    leaves : values of all leaves
    edges, sets : where each category set begins, and the bits of all sets, 32 a word
    x : (k,) features
    """
    total = 0.0
    for tree in range(len(first_node) - 1):
        start = first_node[tree]
        at = 0 if first_node[tree + 1] > start else -1
        while at >= 0:
            node = nodes[start + at]
            kind = node["kind"]
            value = x[node["feature"]]
            if kind & CATEGORY:
                at = node["right"]
                if value >= 0.0 and value < 2147483648.0 or value > -1.0 and value < 0.0:
                    code = np.int64(value)
                    chosen = np.int64(node["threshold"])
                    word = edges[chosen] + (code >> 5)
                    if word < edges[chosen + 1] and (sets[word] >> np.uint32(code & 31)) & np.uint32(1):
                        at = node["left"]
                continue
            # Without branches: which way a value goes is not predictable, and a wrong guess costs most.
            missing = kind >> 2
            is_nan = value != value
            is_zero = (value >= -NEAR_ZERO) & (value <= NEAR_ZERO)
            # The library leaves such values out of a row before it walks, and what is left out is zero.
            value = 0.0 if is_zero | (is_nan & (missing != NAN)) else value
            is_missing = (is_nan & (missing == NAN)) | ((is_zero | is_nan) & (missing == ZERO))
            goes_left = (is_missing & ((kind & DEFAULT_LEFT) != 0)) | (
                (not is_missing) & (value <= node["threshold"])
            )
            at = np.int64(node["left"]) if goes_left else np.int64(node["right"])
        total += leaves[first_leaf[tree] + ~at]
    return total
