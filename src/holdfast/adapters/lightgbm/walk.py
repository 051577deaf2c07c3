"""A LightGBM model as packed trees that machine code of ours walks, for single rows.

Which child a value goes to is LightGBM's rule, with its missing values, default directions, zero as missing
and category sets; the leaves are added in the order of the trees, so a score has LightGBM's bits. Who uses it
checks that (`holdfast.adapters.lightgbm.row`); models whose output needs more than that are not taken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.adapters.lightgbm.kernels import NODE, walk
from holdfast.adapters.lightgbm.text import Header

_PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_MOST = 2**15


class TreeWalk:
    """Packed trees of one model.

    Attributes
    ----------
    slope : of the logistic function that the sum goes through, or None where the sum is the score
    """

    def __init__(self, header: Header, slope: float | None) -> None:
        self.slope = slope
        nodes, leaves, edges, sets = [], [], [0], []
        first_node, first_leaf = [0], [0]
        for block in header.checked.split("\n\n")[1:]:
            fields = dict(line.split("=", 1) for line in block.strip().split("\n") if "=" in line)
            if "num_leaves" not in fields:
                continue
            base = len(edges) - 1
            categorical = int(fields["num_cat"])
            if fields["num_leaves"] != "1":
                nodes += list(
                    zip(
                        _threshold(fields, base),
                        _integers(fields["left_child"]),
                        _integers(fields["right_child"]),
                        _integers(fields["split_feature"]),
                        _integers(fields["decision_type"]),
                        strict=True,
                    )
                )
            if categorical:
                start = edges[-1]
                edges += [start + edge for edge in _integers(fields["cat_boundaries"])[1:]]
                sets += _integers(fields["cat_threshold"])
            leaves += [float(word) for word in fields["leaf_value"].split(" ")]
            first_node.append(len(nodes))
            first_leaf.append(len(leaves))
        packed = np.array(nodes, NODE)
        arrays: tuple[NDArray[Any], ...] = (
            packed,
            np.array(first_node, np.int64),
            np.array(first_leaf, np.int64),
            np.array(leaves, np.float64),
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

    Not taken are averaged trees, other link functions, 2^15 leaves or more in a tree, and 2^16 features.
    """
    head, _, trees = header.checked.partition("\n\n")
    if "\naverage_output" in head or len(header.names) >= 2 * _MOST:
        return None
    if any(
        int(line.removeprefix("num_leaves=")) >= _MOST
        for line in trees.split("\n")
        if line.startswith("num_leaves=")
    ):
        return None
    name, *options = header.objective.split(" ")
    if name in _PLAIN and "sqrt" not in options:
        return TreeWalk(header, None)
    if name == "binary" and len(options) == 1 and options[0].startswith("sigmoid:"):
        return TreeWalk(header, float(options[0].removeprefix("sigmoid:")))
    return None


def _threshold(fields: dict[str, str], base: int) -> list[float]:
    """Return the threshold of each split; of one by category the number of its set among all sets."""
    return [
        float(word) + base if int(kind) & 1 else float(word)
        for word, kind in zip(fields["threshold"].split(" "), fields["decision_type"].split(" "), strict=True)
    ]


def _integers(text: str) -> list[int]:
    return [int(word) for word in text.split(" ")]
