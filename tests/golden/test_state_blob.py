"""The state blob, version 2, is frozen: the bytes written today, and that they stay readable.

`state_blob_2.json` holds the blobs that events make, and what is read of these. A change is a new version;
if it is meant, write it anew with `--update-golden` and say so in docs/reference/formats/state-blob.md.
`state_blob_1.json` is what version 1 wrote: it is refused, and its state has another fingerprint.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.events.ports import Blob
from holdfast.features.online import OnlineRow, compile_state, fold
from holdfast.features.tile import VERSION, StatePlan
from holdfast.features.view import Measure, View
from holdfast.features.window import Window
from holdfast.kernel.errors import ContractError
from holdfast.kernel.time import DAY, HOUR, MINUTE
from holdfast.testing.strategies import AT_SHOP, CARD, FILTERS, PAYMENT, event_frame

GOLDEN = Path(__file__).with_name("state_blob_2.json")
FORMER = Path(__file__).with_name("state_blob_1.json")
START = 1_750_000_000_000_000
T = START + 2 * DAY

WINDOWS = (Window(30 * MINUTE), Window(HOUR, 0, 5 * MINUTE), Window(2 * DAY, HOUR, HOUR))
VIEWS = (
    View(
        "card",
        "payments",
        CARD,
        (
            *(Measure(f"count {n}", "count", window) for n, window in enumerate(WINDOWS)),
            *(Measure(f"std {n}", "std", window, "amount") for n, window in enumerate(WINDOWS)),
            Measure("large", "sum", WINDOWS[1], "amount", FILTERS[0]),
            Measure("heaviest", "max", WINDOWS[2], "weight"),
            Measure("lightest", "min", WINDOWS[2], "weight"),
            Measure("texts", "count", WINDOWS[2], "country"),
            Measure("spread", "var", WINDOWS[2], "amount"),
            *(Measure(f"first {n}", "first", window, "weight") for n, window in enumerate(WINDOWS)),
            *(Measure(f"last {n}", "last", window, "country") for n, window in enumerate(WINDOWS)),
            *(Measure(f"amounts {n}", "distinct", window, "amount") for n, window in enumerate(WINDOWS)),
            Measure("countries", "distinct", WINDOWS[2], "country"),
            *(Measure(f"since {n}", "time_since_last", window) for n, window in enumerate(WINDOWS)),
            Measure("since large", "time_since_last", WINDOWS[2], None, FILTERS[0]),
            Measure("as of", "as_of", Window(2**61, -1, 2**61), "amount"),
        ),
    ),
    View("shop", "payments", AT_SHOP, (Measure("mean", "mean", WINDOWS[1], "items"),)),
)


def plan() -> StatePlan:
    return compile_state(VIEWS, {"payments": PAYMENT}, ring=4, most=6, slack=MINUTE, exact=4)


def rows() -> list[dict[str, Any]]:
    """Events of one card, some late, some at the same time, some with missing values."""
    return [
        {
            "tx_id": f"t{n}",
            "at": (at := T - (n * n * 7 % 50) * HOUR // 20 - n % 3),
            "card_id": "c-1",
            "shop": n % 2,
            "amount": None if n % 7 == 3 else (n * 7919 % 2003 - 400),
            "rate": None,
            "items": 4_294_967_296 if n == 2 else n - 5,
            "weight": None if n % 5 == 1 else (n - 8) / 4,
            "country": "AT" if n % 4 else None,
            "online": True,
            "_arrived": at + MINUTE,
            "_batch": 1 + n // 8,
        }
        for n in range(24)
    ]


def folded(stored: dict[bytes, bytes], batch: int) -> dict[bytes, bytes]:
    def get(keys: Any) -> list[Blob]:
        return [stored.get(key, b"") for key in keys]

    puts = fold(plan(), "payments", event_frame([row for row in rows() if row["_batch"] == batch]), get)
    return stored | {key: bytes(blob) for key, blob in puts.items()}


def read(stored: dict[bytes, bytes]) -> dict[str, Any]:
    row = OnlineRow(plan(), VIEWS)
    found = row.measure([stored.get(key, b"") for key in row.keys({"card_id": "c-1", "shop": 1})], T)
    return {
        name: {"value": None if math.isnan(value) else value.hex(), "flags": int(flags)}
        for name, value, flags in zip(row.names, found.values.tolist(), found.flags, strict=True)
    }


def as_text(stored: dict[bytes, bytes]) -> dict[str, list[int]]:
    return {key.hex(): np.frombuffer(blob, np.int64).tolist() for key, blob in sorted(stored.items())}


def from_text(stored: dict[str, list[int]]) -> dict[bytes, bytes]:
    return {bytes.fromhex(key): np.array(words, np.int64).tobytes() for key, words in stored.items()}


def test_blobs_and_what_is_read_of_them_are_those_of_version_2(request: pytest.FixtureRequest) -> None:
    first = folded({}, 1)
    last = folded(folded(first, 2), 3)
    found = {
        "version": VERSION,
        "state": plan().fingerprint,
        "after batch 1": as_text(first),
        "after batch 3": as_text(last),
        "read": read(last),
    }
    if request.config.getoption("--update-golden", default=False):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")

    assert found == json.loads(GOLDEN.read_text())


def test_blobs_of_version_1_are_refused() -> None:
    former = json.loads(FORMER.read_text())
    stored = from_text(former["after batch 3"])

    assert former["state"] != plan().fingerprint
    with pytest.raises(ContractError, match="not what this plan reads"):
        read(stored)
    with pytest.raises(ContractError, match="not what this plan reads"):
        folded(stored, 2)


def test_blobs_of_version_2_are_read_and_continued() -> None:
    golden = json.loads(GOLDEN.read_text())

    last = folded(folded(from_text(golden["after batch 1"]), 2), 3)

    assert as_text(last) == golden["after batch 3"]
    assert read(from_text(golden["after batch 3"])) == golden["read"]
    assert any(each["flags"] for each in golden["read"].values()) or golden["read"]["count 0"]["value"]
