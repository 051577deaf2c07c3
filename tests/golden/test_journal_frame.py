"""The journal frame, version 1, is frozen: journals written today are read by every later release.

`journal_frame.json` holds the bytes of a segment, as docs/reference/formats/journal-frame.md describes them.
"""

import json
import struct
import zlib
from pathlib import Path

from holdfast.adapters.journal import JournalFileWriter, JournalFolder
from holdfast.events.journal import EVENT, FEEDBACK, PREDICTION, REJECTED, encode_payload

GOLDEN = json.loads(Path(__file__).with_name("journal_frame.json").read_text(encoding="utf-8"))

ENTRIES = [
    (EVENT, "payments", 1_793_620_800_000_000, {"id": "p-1", "at": 1_793_620_799_999_999, "amount": 91250}),
    (PREDICTION, "fraud", 1_793_620_800_000_001, {"prediction_id": "r-1", "score": 0.125, "latency_us": [7]}),
    (FEEDBACK, "outcomes-\u00e9", -1, {"id": "d-1", "ok": True}),
    (REJECTED, "payments", 0, {"code": "HF203", "column": "amount", "reason": "too much", "raw": "{}"}),
]


class Clock:
    def now_us(self) -> int:
        return 1_793_620_800_000_000


def test_frames_are_written_as_they_always_were(tmp_path: Path) -> None:
    writer = JournalFileWriter(tmp_path, "serve", Clock())
    entries = [(kind, source, at, encode_payload(values)) for kind, source, at, values in ENTRIES]
    writer.append(entries[:2])
    writer.append(entries[2:3])
    writer.append(entries[3:])

    (path,) = tmp_path.glob("segments/*/*.seg")
    assert path.relative_to(tmp_path).parts[1].rsplit("-", 1)[0] == GOLDEN["id"]
    assert path.name == GOLDEN["name"]
    assert path.read_bytes().hex() == GOLDEN["bytes"]


def test_frames_written_long_ago_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "segments" / f"{GOLDEN['id']}-1"
    folder.mkdir(parents=True)
    (folder / GOLDEN["name"]).write_bytes(bytes.fromhex(GOLDEN["bytes"]))

    frames = JournalFolder(tmp_path).read(folder.name, 0, 2**20)

    assert [(f.kind, f.source, f.arrived_us, f.payload) for f in frames] == [
        (kind, source, at, encode_payload(values)) for kind, source, at, values in ENTRIES
    ]


def test_bytes_are_what_the_page_says() -> None:
    content = bytes.fromhex(GOLDEN["bytes"])
    position = 0
    for n, (kind, source, at, _) in enumerate(ENTRIES):
        name = source.encode()
        assert content[position : position + 4] == b"HFJ1"
        fields = content[position + 4 : position + 20]
        (check,) = struct.unpack("<I", content[position + 20 : position + 24])
        found, version, n_source, n_payload, arrived = struct.unpack("<BBHIq", fields)
        body = content[position + 24 : position + 24 + n_source + n_payload]
        assert (found & 0x7F, found >> 7, version, arrived) == (kind, int(n == 0), 1, at)
        assert body[:n_source] == name
        assert zlib.crc32(fields + body) == check
        position += 24 + len(body)
    assert position == len(content)
