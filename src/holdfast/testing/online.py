"""An online store in memory: the port's semantics without files, for tests of what reads or writes state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from holdfast.events.ports import Blob, EventId
from holdfast.features.ports import Generation
from holdfast.kernel.errors import ConflictError, NotFoundError, UsageError


@dataclass(slots=True)
class _Content:
    """What one generation holds; blobs are replaced, never changed, so a snapshot keeps what it saw."""

    plan: bytes
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    ids: dict[EventId, bytes] = field(default_factory=dict)
    verdicts: dict[int, bytes] = field(default_factory=dict)
    batch: int | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class _Snapshot:
    batch: int
    blobs: dict[bytes, bytes]

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        """Return the blob of each key, empty where there is none."""
        return [self.blobs.get(key, b"") for key in keys]


class MemoryReader:
    """One generation, for reading."""

    def __init__(self, generation: Generation, content: _Content) -> None:
        self.generation = generation
        self.plan = content.plan
        self._content: _Content | None = content

    @contextmanager
    def snapshot(self) -> Iterator[_Snapshot]:
        """Begin to read what is committed now."""
        if self._content is None:
            raise UsageError(f"the reader of generation {self.generation} is closed.")
        yield _Snapshot(self._content.batch or 0, self._content.blobs)

    def close(self) -> None:
        """Let go of it."""
        self._content = None


class MemoryWriter:
    """One generation, for writing."""

    def __init__(self, generation: Generation, content: _Content) -> None:
        if content.held:
            raise ConflictError(f"another writer holds generation {generation}.", code="HF303")
        content.held = True
        self.generation = generation
        self.plan = content.plan
        self._content = content
        self._closed = False

    @property
    def batch(self) -> int | None:
        """The last batch committed, or None while the generation is being filled."""
        return self._content.batch

    def get(self, keys: Sequence[bytes]) -> list[Blob]:
        """Return the blob of each key as of the last commit, empty where there is none."""
        return [self._held().blobs.get(key, b"") for key in keys]

    def find_ids(self, ids: Sequence[EventId]) -> list[bytes]:
        """Return the content digest stored for each id, empty where it is not known."""
        return [self._held().ids.get(each, b"") for each in ids]

    def fill(self, puts: Mapping[bytes, Blob], *, ids: Mapping[EventId, bytes] | None = None) -> None:
        """Store blobs and ids under no batch, before the first commit."""
        if self._held().batch is not None:
            raise ConflictError(f"generation {self.generation} is not filled any more.", code="HF302")
        self._put(puts, ids)

    def commit(
        self,
        batch: int,
        puts: Mapping[bytes, Blob],
        *,
        ids: Mapping[EventId, bytes] | None = None,
        forget_before: int | None = None,
        verdicts: bytes | None = None,
    ) -> bool:
        """Store everything about a batch; False if it was committed before."""
        content = self._held()
        if content.batch is not None and batch <= content.batch:
            return False
        self._put(puts, ids)
        if forget_before is not None:
            content.ids = {each: digest for each, digest in content.ids.items() if each.day >= forget_before}
        if verdicts is not None:
            content.verdicts[batch] = verdicts
        content.batch = batch
        return True

    def verdicts(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (batch, verdicts) of later batches that still have them, in order."""
        yield from sorted((batch, found) for batch, found in self._held().verdicts.items() if batch > after)

    def drop_verdicts(self, until: int) -> None:
        """Forget the verdicts of batches up to this one."""
        content = self._held()
        content.verdicts = {batch: found for batch, found in content.verdicts.items() if batch > until}

    def close(self) -> None:
        """Let go of the generation."""
        if not self._closed:
            self._closed = True
            self._content.held = False

    def _put(self, puts: Mapping[bytes, Blob], ids: Mapping[EventId, bytes] | None) -> None:
        new = {bytes(key): bytes(blob) for key, blob in puts.items()}
        self._content.blobs = {**self._content.blobs, **new}
        self._content.ids = {**self._content.ids, **(ids or {})}

    def _held(self) -> _Content:
        if self._closed:
            raise UsageError(f"the writer of generation {self.generation} is closed.")
        return self._content


class MemoryOnline:
    """A `holdfast.features.ports.OnlineStore` that lives as long as the object."""

    def __init__(self) -> None:
        self._generations: dict[Generation, _Content] = {}
        self._current: Generation | None = None

    def create(self, state: str, plan: bytes) -> Generation:
        """Make an empty generation with the next number."""
        number = max((each.number for each in self._generations if each.state == state), default=0) + 1
        generation = Generation(state, number)
        self._generations[generation] = _Content(plan)
        return generation

    def writer(self, generation: Generation) -> MemoryWriter:
        """Hold a generation for writing."""
        return MemoryWriter(generation, self._content(generation))

    def reader(self, generation: Generation) -> MemoryReader:
        """Open a generation for reading."""
        return MemoryReader(generation, self._content(generation))

    def current(self) -> Generation | None:
        """Return the live generation, or None where there is none."""
        return self._current

    def make_current(self, generation: Generation) -> None:
        """Make a generation the live one."""
        if self._content(generation).batch is None:
            raise ConflictError(f"generation {generation} is not filled.", code="HF302")
        self._current = generation

    def generations(self) -> list[Generation]:
        """Return all generations in order."""
        return sorted(self._generations)

    def remove(self, generation: Generation) -> None:
        """Delete a generation; harmless if it is gone."""
        if generation == self._current:
            raise ConflictError(f"generation {generation} is the live one.", code="HF302")
        content = self._generations.get(generation)
        if content is not None and content.held:
            raise ConflictError(f"a writer holds generation {generation}.", code="HF303")
        self._generations.pop(generation, None)

    def _content(self, generation: Generation) -> _Content:
        content = self._generations.get(generation)
        if content is None:
            raise NotFoundError(
                f"there is no generation {generation}.", has=[str(each) for each in self.generations()]
            )
        return content
