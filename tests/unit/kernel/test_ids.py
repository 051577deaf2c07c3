"""Canonical JSON and fingerprints."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kernel.errors import ContractError
from holdfast.kernel.expr import Expr, col, const
from holdfast.kernel.ids import canonical_json, digest, fingerprint, from_data, short, to_data
from holdfast.kernel.schema import Column, Schema

SCHEMA = Schema(
    "orders", (Column("id", "string", role="event_id"), Column("amount", "decimal", scale=2, ge=0))
)

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=10,
)


@dataclass(frozen=True, slots=True)
class Named:
    name: str
    values: dict[str, tuple[float, ...]]


def test_canonical_json_sorts_keys_and_has_no_blanks() -> None:
    assert canonical_json({"b": 1, "a": [1.0, None, "ü"]}) == '{"a":[1.0,null,"ü"],"b":1}'.encode()


def test_dataclass_becomes_an_object_and_tuple_an_array() -> None:
    assert canonical_json(Named("x", {"k": (0.1, 2.0)})) == b'{"name":"x","values":{"k":[0.1,2.0]}}'


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [1, float("-inf")], Named("x", {"a": (float("nan"),)})]
)
def test_value_that_is_not_finite_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


@given(json_values)
def test_canonical_json_is_read_back_as_the_same_value(value: object) -> None:
    text = canonical_json(value)

    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers()))
def test_fingerprint_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    backwards = dict(reversed(value.items()))

    assert fingerprint(backwards) == fingerprint(value)


def test_fingerprints_do_not_change_between_versions() -> None:
    assert digest(b"") == "3345524abf6bbe1809449224b5972c41790b6cf2"
    assert fingerprint(SCHEMA) == "2572b06d8dca308666f3be6d4c4d0521da870c8b"
    assert fingerprint(Expr("add", (col("x"), const(1)))) == "b741ea680c31c15806bb3c8f9c9a60ca2ef85a05"


def test_digest_of_parts_is_the_digest_of_the_whole() -> None:
    assert digest([b"ab", memoryview(b"c")]) == digest(b"abc")


def test_short_is_a_prefix() -> None:
    assert short("0123456789") == "01234567"


def test_noun_comes_back_from_its_data() -> None:
    assert from_data(Schema, to_data(SCHEMA)) == SCHEMA
    assert from_data(Schema, json.loads(canonical_json(SCHEMA))) == SCHEMA


def test_fingerprint_survives_the_journey() -> None:
    assert fingerprint(from_data(Schema, to_data(SCHEMA))) == fingerprint(SCHEMA)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Schema, {"name": "x"}),
        (Schema, {"name": 1, "columns": []}),
        (Schema, {"name": "x", "columns": [{"name": "a", "type": "complex"}]}),
        (Expr, {"op": "nothing", "args": [], "params": []}),
        (Expr, {"op": "add", "args": [], "params": []}),
        (Expr, None),
    ],
)
def test_data_of_another_shape_is_refused(kind: type, data: object) -> None:
    with pytest.raises(ContractError) as caught:
        from_data(kind, data)

    assert caught.value.code == "HF200"
    assert kind.__name__ in str(caught.value)


@pytest.mark.parametrize("value", [0.0, -0.0, 1, 1.0, True, False, None, "1", 2**60, 1e300])
def test_constant_keeps_its_type_and_bits(value: object) -> None:
    expr = const(value)  # type: ignore[arg-type]

    back = from_data(Expr, json.loads(canonical_json(expr)))

    assert repr(back.params[0]) == repr(value)
