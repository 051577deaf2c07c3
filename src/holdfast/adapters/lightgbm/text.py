"""LightGBM's model text, checked before the library reads it.

The library's own reader trusts its input: a text cut short ends the process, a child or feature out of range
reads foreign memory, a torn line among the parameters crashes. So header and trees are checked here first,
word by word, and what follows them, which prediction does not need, is never given to the library.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from holdfast.kernel.errors import RefusedError

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?|-?inf|-?nan")
_HEADER_KEYS = {
    "average_output", "feature_infos", "feature_names", "label_index", "max_feature_idx",
    "monotone_constraints", "num_class", "num_tree_per_iteration", "objective", "tree_sizes", "version",
}  # fmt: skip
_SPLIT_FLOATS = ("split_gain", "threshold", "internal_value", "internal_weight")
_SPLIT_INTEGERS = ("split_feature", "decision_type", "left_child", "right_child", "internal_count")
_TREE_KEYS = {
    *_SPLIT_FLOATS, *_SPLIT_INTEGERS, "num_leaves", "num_cat", "leaf_value", "leaf_weight", "leaf_count",
    "cat_boundaries", "cat_threshold", "is_linear", "shrinkage",
}  # fmt: skip
_NOT_SCORES = ("multiclass", "multiclassova", "softmax", "lambdarank", "rank_xendcg")


@dataclass(frozen=True, slots=True)
class Header:
    """What a model text says before its trees.

    Attributes
    ----------
    objective : such as ``binary sigmoid:1``; empty for one of the user's own
    names : names of the features, in the order of the columns
    checked : header and trees, which is all that prediction needs
    """

    objective: str
    names: tuple[str, ...]
    n_trees: int
    checked: str


def read_header(content: bytes) -> Header:
    """Check a whole model text and return its header.

    Raises
    ------
    RefusedError
        If it is not a complete, consistent LightGBM text (HF402), or a model whose output is not one score
        per row: several classes, a ranking, an objective of the user's own, linear trees (HF403).

    Notes
    -----
    Checked are the sizes of all trees, the lengths of their arrays, that every feature, child, leaf and
    category set exists, and that children come after their parents, so that every walk ends.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _broken("it is not UTF-8") from None
    if not content.startswith(b"tree\nversion=v4\n"):
        raise _broken(f"it begins with {text[:20]!r}, expected 'tree' and 'version=v4'")
    head, found, _ = text.partition("\n\n")
    if not found:
        raise _broken("it ends inside its header")
    header = _fields(head.removeprefix("tree\n").split("\n"), "the header", _HEADER_KEYS)
    _integers(header, "label_index", "the header", 1)
    if header.get("num_class") != "1" or header.get("num_tree_per_iteration") != "1":
        raise RefusedError(
            f"the LightGBM model has {header.get('num_class')} classes; one score per row is needed.",
            code="HF403",
            hint="fit one model per class, or a binary label",
        )
    names = tuple(header.get("feature_names", "").split(" "))
    if header.get("max_feature_idx") != str(len(names) - 1) or len(set(names)) != len(names):
        raise _broken(f"{len(names)} feature names do not match max_feature_idx")
    if not all(names) or len(header.get("feature_infos", "").split(" ")) != len(names):
        raise _broken("feature_infos do not match the feature names")
    sizes = _integers(header, "tree_sizes", "the header") if header.get("tree_sizes") else []
    start = len(head.encode()) + 2
    for index, size in enumerate(sizes):
        if size <= 0 or start + size > len(content):
            raise _broken(f"tree {index} ends after the text")
        _check_tree(content[start : start + size].decode("utf-8", "replace"), index, len(names))
        start += size
    _check_tail(content[start:].decode("utf-8", "replace"))
    objective = header.get("objective", "")
    if objective.partition(" ")[0] in _NOT_SCORES or not objective:
        raise RefusedError(
            f"the LightGBM model has objective {objective or 'of its own'!r}, whose output is not one score.",
            code="HF403",
            hint="use a built-in objective for binary labels or values",
        )
    return Header(objective, names, len(sizes), f"{content[:start].decode()}end of trees\n")


def _check_tree(text: str, index: int, n_features: int) -> None:
    where = f"tree {index}"
    lines = text.rstrip("\n").split("\n")
    if lines[0] != f"Tree={index}":
        raise _broken(f"{where} begins with {lines[0][:20]!r}")
    if "is_linear=1" in lines:
        raise RefusedError("LightGBM models with linear trees are not supported.", code="HF403", at=where)
    fields = _fields(lines[1:], where, _TREE_KEYS)
    if fields.get("is_linear", "0") != "0":
        raise _broken(f"{where} is neither linear nor not")
    _floats(fields, "shrinkage", where, 1)
    (leaves,) = _integers(fields, "num_leaves", where, 1)
    (categorical,) = _integers(fields, "num_cat", where, 1)
    if leaves < 1 or categorical < 0:
        raise _broken(f"{where} has {leaves} leaves and {categorical} category sets")
    splits = leaves - 1
    if not all(map(math.isfinite, _floats(fields, "leaf_value", where, leaves))):
        raise _broken(f"{where} has a leaf value that is not finite")
    if splits == 0:
        if categorical or any(fields.get(key) for key in (*_SPLIT_FLOATS, *_SPLIT_INTEGERS)):
            raise _broken(f"{where} has one leaf and splits")
        return
    _integers(fields, "leaf_count", where, leaves)
    _floats(fields, "leaf_weight", where, leaves)
    floats = {key: _floats(fields, key, where, splits) for key in _SPLIT_FLOATS}
    integers = {key: _integers(fields, key, where, splits) for key in _SPLIT_INTEGERS}
    _check_walk(integers["left_child"], integers["right_child"], where)
    if not all(0 <= feature < n_features for feature in integers["split_feature"]):
        raise _broken(f"{where} splits on a feature that does not exist")
    if not all(0 <= kind < 16 for kind in integers["decision_type"]):
        raise _broken(f"{where} has a kind of split that does not exist")
    # A threshold is infinite where only missing parts the rows.
    if any(map(math.isnan, floats["threshold"])):
        raise _broken(f"{where} has a threshold that is not a number")
    _check_categories(fields, floats["threshold"], integers["decision_type"], categorical, where)


def _check_categories(
    fields: dict[str, str], thresholds: list[float], kinds: list[int], categorical: int, where: str
) -> None:
    """Check that every split by category names a set that exists, and that the sets are whole."""
    sets = [at for at, kind in zip(thresholds, kinds, strict=True) if kind & 1]
    if not all(0 <= at < categorical and at == int(at) for at in sets):
        raise _broken(f"{where} splits on a category set that does not exist")
    if categorical:
        edges = _integers(fields, "cat_boundaries", where, categorical + 1)
        if edges[0] != 0 or any(low >= high for low, high in pairwise(edges)):
            raise _broken(f"{where} has category sets out of order")
        if min(_integers(fields, "cat_threshold", where, edges[-1])) < 0:
            raise _broken(f"{where} has a category set below zero")


def _check_walk(left: list[int], right: list[int], where: str) -> None:
    """Check that the children form a tree in which each one comes after its parent."""
    splits = len(left)
    if sorted([*left, *right]) != [*range(-splits - 1, 0), *range(1, splits)]:
        raise _broken(f"{where} has children that do not form a tree")
    for parent, pair in enumerate(zip(left, right, strict=True)):
        if any(0 <= child <= parent for child in pair):
            raise _broken(f"{where} has a child before its parent")


def _check_tail(text: str) -> None:
    lines = text.split("\n")
    if lines[0] != "end of trees" or "end of parameters" not in lines:
        raise _broken("its trees or parameters do not end where they should")
    for line in lines:
        if line.startswith("pandas_categorical:") and line[19:] not in ("null", "[]"):
            raise RefusedError(
                "the LightGBM model codes categories of a data frame by itself.",
                code="HF403",
                hint="fit it on `data.train.x`, whose categories are coded by the vocabulary",
            )


def _fields(lines: list[str], where: str, known: set[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key in fields or key not in known or "=" in value:
            raise _broken(f"{where} has the line {line[:40]!r}")
        fields[key] = value
    return fields


def _integers(fields: dict[str, str], key: str, where: str, length: int | None = None) -> list[int]:
    words = _words(fields, key, where, _INTEGER, length)
    values = [int(word) for word in words]
    if any(abs(value) >= 2**32 for value in values):
        raise _broken(f"`{key}` of {where} holds a number beyond 32 bits")
    return values


def _floats(fields: dict[str, str], key: str, where: str, length: int) -> list[float]:
    return [float(word) for word in _words(fields, key, where, _NUMBER, length)]


def _words(
    fields: dict[str, str], key: str, where: str, pattern: re.Pattern[str], length: int | None
) -> list[str]:
    words = fields.get(key, "").split(" ")
    if length is not None and len(words) != length:
        raise _broken(f"`{key}` of {where} has {len(words)} values, expected {length}")
    if not all(map(pattern.fullmatch, words)):
        raise _broken(f"`{key}` of {where} holds what is not a number")
    return words


def _broken(fact: str) -> RefusedError:
    return RefusedError(f"the model is not a LightGBM text: {fact}.", code="HF402")
