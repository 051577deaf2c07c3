"""A LightGBM model as packed trees that machine code of ours walks, for single rows.

Which child a value goes to is LightGBM's rule, with its missing values, default directions, zero as missing
and category sets; the leaves are added in the order of the trees, so a score has LightGBM's bits. Who uses it
checks that (`holdfast.adapters.lightgbm.row`); models whose output needs more than that are not taken.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.adapters.lightgbm.kernels import LEAF, NO_SET, NODE, SLOT, TOGETHER, walk
from holdfast.adapters.lightgbm.text import Header

_PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_CATEGORY, _DEFAULT_LEFT = 1, 2
"""Bits of a split's kind in the text; the two above them say what counts as missing."""

Tree = Mapping[str, str]


class TreeWalk:
    """Packed trees of one model.

    Parameters
    ----------
    trees : the fields of each tree, as text

    Attributes
    ----------
    slope : of the logistic function that the sum goes through, or None where the sum is the score
    """

    def __init__(self, trees: list[Tree], slope: float | None) -> None:
        self.slope = slope
        nodes: list[tuple[float, int, int]] = []
        slots = {(-1, NO_SET, 0, 0): LEAF}
        roots, depths, edges, sets = [], [], [0], []
        for fields in trees:
            roots.append(len(nodes))
            depths.append(_pack(fields, len(edges) - 1, nodes, slots))
            if int(fields["num_cat"]):
                start = edges[-1]
                edges += [start + edge for edge in _integers(fields["cat_boundaries"])[1:]]
                sets += _integers(fields["cat_threshold"])
        arrays: tuple[NDArray[Any], ...] = (
            np.array(nodes, NODE),
            np.array(roots, np.int64),
            np.array([max(depths[at : at + TOGETHER]) for at in range(0, len(depths), TOGETHER)], np.int64),
            np.array(list(slots), SLOT),
            np.array(edges, np.int64),
            np.array(sets, np.uint32),
        )
        for array in arrays:
            array.setflags(write=False)
        self._arrays = arrays

    def score(self, x: NDArray[np.float64]) -> float:
        """Return the score of one row: (k,) float64, C-ordered; its shape is not checked here."""
        total: float = walk(*self._arrays, x)
        if self.slope is None:
            return total
        try:
            return 1.0 / (1.0 + math.exp(-self.slope * total))
        except OverflowError:
            return 0.0


def tree_walk(header: Header) -> TreeWalk | None:
    """Return the packed trees of a model, or None where its output is not a plain or logistic sum of leaves.

    Not taken are averaged trees and other link functions.
    """
    if "\naverage_output" in header.checked.partition("\n\n")[0]:
        return None
    trees = list(_trees(header))
    name, *options = header.objective.split(" ")
    if name in _PLAIN and "sqrt" not in options:
        return TreeWalk(trees, None)
    if name == "binary" and len(options) == 1 and options[0].startswith("sigmoid:"):
        return TreeWalk(trees, float(options[0].removeprefix("sigmoid:")))
    return None


def _trees(header: Header) -> Iterator[Tree]:
    for block in header.checked.split("\n\n")[1:]:
        fields = dict(line.split("=", 1) for line in block.strip().split("\n") if "=" in line)
        if "num_leaves" in fields:
            yield fields


def _pack(
    fields: Tree,
    sets_before: int,
    nodes: list[tuple[float, int, int]],
    slots: dict[tuple[int, int, int, int], int],
) -> int:
    """Append the nodes of a tree, and the slots that it is the first to read; return the tree's depth.

    Parameters
    ----------
    sets_before : category sets of the trees before
    slots : number of each slot
    """
    leaves = _numbers(fields["leaf_value"])
    is_split = fields["num_leaves"] != "1"
    splits = (
        zip(
            _numbers(fields["threshold"]),
            _integers(fields["left_child"]),
            _integers(fields["right_child"]),
            _integers(fields["split_feature"]),
            _integers(fields["decision_type"]),
            strict=True,
        )
        if is_split
        else ()
    )
    split_of = list(splits)
    depth, end = 0, len(nodes) + 1
    nodes.append((0.0, 0, 0))
    # Nearest to the root first, so that the nodes of the first steps stand together.
    waiting = deque([(0 if is_split else ~0, len(nodes) - 1, 0)])
    while waiting:
        at, place, depth = waiting.popleft()
        if at < 0:
            nodes[place] = (leaves[~at], place, LEAF)
            continue
        threshold, left, right, feature, kind = split_of[at]
        if kind & _CATEGORY:
            slot, threshold = (feature, sets_before + int(threshold), 0, 0), 0.0
        else:
            slot = (feature, NO_SET, kind >> 2, int(kind & _DEFAULT_LEFT != 0))
        nodes[place] = (threshold, end, slots.setdefault(slot, len(slots)))
        nodes += [(0.0, 0, 0)] * 2
        waiting += [(left, end, depth + 1), (right, end + 1, depth + 1)]
        end += 2
    return depth


def _integers(text: str) -> list[int]:
    return [int(word) for word in text.split(" ")]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(" ") if word]
