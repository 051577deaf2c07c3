"""The batch log, version 1, is frozen: logs written today are read by every later release.

`batch_log.json` holds the bytes of a log, before and after it was compacted, as
docs/reference/formats/batch-log.md describes them.
"""

import json
from pathlib import Path

from holdfast.adapters.files.batch_log import BatchLogFile
from holdfast.events.batch import Batch, Load, Logged

GOLDEN = json.loads(Path(__file__).with_name("batch_log.json").read_text(encoding="utf-8"))

FILE = "0123456789abcdef0123456789abcdef01234567"
ONE = Batch(1, "payments", FILE, 0, 3, "a.arrow", {"stored": 2, "HF203": 1, "duplicates": 0}, "b.arrow")
TWO = Batch(2, "", "journal:serve-1-2", 0, 900, "", {"events": 2, "predictions": 1})
THREE = Batch(3, "payments", FILE, 3, 5, "c.arrow", {"stored": 1, "duplicates": 1})
FOUR = Batch(4, "", "journal:serve-1-2", 900, 1000, "", {"events": 1})


def test_log_is_written_as_it_always_was(tmp_path: Path) -> None:
    log = BatchLogFile(tmp_path / "log", compact_bytes=0)
    with log.lease():
        log.append(ONE)
        log.append(TWO, THREE)
        log.settle(3)
        log.append(FOUR)
        plain = (tmp_path / "log").read_bytes()
        assert log.compact(["serve-1-2"])
        compacted = (tmp_path / "log").read_bytes()

    assert plain.hex() == GOLDEN["plain"]
    assert compacted.hex() == GOLDEN["compacted"]


def test_log_written_long_ago_is_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes.fromhex(GOLDEN["plain"]))
    (tmp_path / "compacted").write_bytes(bytes.fromhex(GOLDEN["compacted"]))

    plain = BatchLogFile(tmp_path / "plain").read()
    compacted = BatchLogFile(tmp_path / "compacted").read()

    assert plain == Logged(batches=(ONE, TWO, THREE, FOUR), settled=3)
    load = Load("payments", FILE, 5, {"HF203": 1, "duplicates": 1, "stored": 3})
    assert compacted == Logged(3, (load,), {"serve-1-2": 900}, (FOUR,), 3)
    assert plain.number == compacted.number == 4
    assert plain.positions() == compacted.positions() == {"serve-1-2": 1000}
    assert plain.loaded() == compacted.loaded()
