"""Delta tables in one folder or bucket, written through loaded handles."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from holdfast.adapters.delta.data_file import DataFile, fits, place
from holdfast.kernel.errors import (
    ConflictError,
    ContractError,
    HoldfastError,
    NotFoundError,
    UnavailableError,
    did_you_mean,
)

FORMAT = 1
"""Version of the tables that are written, and the newest that is read; it stands in a table's description."""
DESCRIPTION = f"holdfast lake row, version {FORMAT}"
_DESCRIPTION = re.compile(r"holdfast lake row, version ([0-9]+)")
ATTEMPTS = 20
"""Times a commit is tried while others commit too."""
PINNED = 8
"""Number of handles on named versions that are kept."""
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class DeltaLake:
    """Implements the lake port on Delta Lake.

    Parameters
    ----------
    root : folder or URL that holds one folder a table
    storage_options : credentials and endpoints of object storage, as delta-rs names them

    Notes
    -----
    The transaction version of an app is read from the very snapshot the append is committed on. delta-rs
    takes the same version twice from a fresh handle, and refuses a commit only where the handle is stale; so
    on a refused commit the handle is reloaded and the version read again.
    """

    def __init__(self, root: str | Path, *, storage_options: Mapping[str, str] | None = None) -> None:
        self.root = str(root)
        self._options = dict(storage_options or {}) or None
        self._handles: dict[str, DeltaTable] = {}
        self._pinned: dict[tuple[str, int], DeltaTable] = {}
        self._lock = threading.RLock()

    def version(self, table: str) -> int | None:
        """Return the latest version of a table, or None where the table does not exist."""
        with self._lock, _translated(table):
            handle = self._find(table)
            return None if handle is None else handle.version()

    def applied(self, table: str, *, app: str) -> int | None:
        """Return the latest batch of the app that the table holds, or None where there is none."""
        with self._lock, _translated(table):
            handle = self._find(table)
            return None if handle is None else handle.transaction_version(app)

    def append(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        app: str,
        batch: int,
        note: Mapping[str, str] | None = None,
        staged: str | None = None,
    ) -> int:
        """Append rows under (app, batch), creating the table if need be; return a version that holds them."""
        properties = CommitProperties(
            custom_metadata=dict(note) if note else None,
            app_transactions=[Transaction(app, batch)],
            max_commit_retries=0,
        )
        placed: DataFile | None = None
        for _ in range(ATTEMPTS):
            with self._lock, _translated(table):
                handle = self._find(table)
                is_wider = False
                if handle is not None:
                    applied = handle.transaction_version(app)
                    if applied is not None and applied >= batch:
                        return handle.version()
                    types = _types(handle)
                    frame = _fitted(table, frame, types)
                    is_wider = frame.width > len(types)
                if is_wider or "://" in self.root or not fits(frame):
                    accepted = self._write(table, handle, frame, properties)
                else:
                    placed = placed or place(Path(self._place(table)), frame, staged)
                    accepted = self._commit(table, handle, frame, placed, properties)
                if accepted:
                    return self._open(table).version()
        raise _contended(table)

    def ensure(self, table: str, frame: pl.DataFrame) -> int:
        """Create a table with the columns of an empty frame, or add those it lacks; return its version."""
        for _ in range(ATTEMPTS):
            with self._lock, _translated(table):
                handle = self._find(table)
                empty = frame.clear()
                if handle is not None:
                    types = _types(handle)
                    empty = _fitted(table, empty, types)
                    if set(empty.columns) == set(types):
                        return handle.version()
                if self._write(table, handle, empty, CommitProperties(max_commit_retries=0)):
                    return self._open(table).version()
        raise _contended(table)

    def reset(self, table: str, frame: pl.DataFrame) -> int:
        """Give a table without rows the columns of an empty frame, whatever it had; return its version.

        Raises
        ------
        ConflictError
            If the table holds rows (HF301).
        """
        for _ in range(ATTEMPTS):
            with self._lock, _translated(table):
                handle = self._open(table)
                if pl.scan_delta(handle).head(1).collect().height:
                    raise ConflictError(f"table `{table}` holds rows and cannot be made anew.")
                empty = frame.clear()
                if self._write(table, handle, empty, CommitProperties(max_commit_retries=0), replace=True):
                    return self._open(table).version()
        raise _contended(table)

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Return rows (no promised order); the filter is pushed down to the files."""
        with self._lock, _translated(table):
            handle = self._open(table)
            if version is not None:
                # A scan reads what its handle holds when collected, and another thread may move this one.
                handle = self._at(table, version, handle.version())
            rows = pl.scan_delta(handle)
        with _translated(table):
            if where is not None:
                rows = rows.filter(where)
            if columns is not None:
                rows = rows.select(columns)
            return rows.collect()

    def tables(self) -> list[str]:
        """Return the names of all tables in a local lake."""
        root = Path(self.root)
        if not root.is_dir():
            return []
        return sorted(path.name for path in root.iterdir() if (path / "_delta_log").is_dir())

    def compact(self, table: str) -> int:
        """Merge small files of a table; return how many were replaced. Rows and old versions stay."""
        with self._lock, _translated(table):
            handle = self._open(table)
            metrics = handle.optimize.compact()
            return int(metrics.get("numFilesRemoved", 0))

    def _commit(
        self,
        table: str,
        handle: DeltaTable | None,
        frame: pl.DataFrame,
        placed: DataFile,
        properties: CommitProperties,
    ) -> bool:
        """Commit a file of rows that lies in the table's folder; return whether the commit was accepted."""
        with self._refusable(table, handle) as accepted:
            if handle is None:
                placed.create(frame, DESCRIPTION, properties)
            else:
                placed.commit(handle, properties)
        return bool(accepted)

    def _write(
        self,
        table: str,
        handle: DeltaTable | None,
        frame: pl.DataFrame,
        properties: CommitProperties,
        *,
        replace: bool = False,
    ) -> bool:
        """Commit rows, added to the table or in place of it; return whether the commit was accepted."""
        with self._refusable(table, handle) as accepted:
            write_deltalake(
                self._place(table) if handle is None else handle,
                frame,
                mode="overwrite" if replace else "append",
                schema_mode="overwrite" if replace else None if handle is None else "merge",
                description=DESCRIPTION if handle is None else None,
                storage_options=self._options,
                commit_properties=properties,
            )
        return bool(accepted)

    @contextmanager
    def _refusable(self, table: str, handle: DeltaTable | None) -> Iterator[list[bool]]:
        """Yield what is not empty after a commit that was accepted, and empty after one that was refused."""
        accepted: list[bool] = []
        try:
            yield accepted
            accepted.append(True)
        except CommitFailedError:
            self._handles.pop(table, None)
        except DeltaError as error:
            # Another process made the table first.
            if handle is not None or "already exists" not in str(error):
                raise

    def _place(self, table: str) -> str:
        if _TABLE.fullmatch(table) is None:
            raise ContractError(f"a table is named by letters, digits, `_`, `-` and `.`; found {table!r}.")
        return f"{self.root.rstrip('/')}/{table}"

    def _find(self, table: str) -> DeltaTable | None:
        """Return a handle on the latest version, or None where there is no table."""
        handle = self._handles.get(table)
        if handle is None:
            place = self._place(table)
            if not DeltaTable.is_deltatable(place, storage_options=self._options):
                return None
            handle = DeltaTable(place, storage_options=self._options)
            _demand_format(table, handle)
            self._handles[table] = handle
        else:
            handle.update_incremental()
        return handle

    def _open(self, table: str) -> DeltaTable:
        handle = self._find(table)
        if handle is None:
            known = self.tables()
            raise NotFoundError(
                f"the lake has no table `{table}`.", has=known, hint=did_you_mean(table, known)
            )
        return handle

    def _at(self, table: str, version: int, latest: int) -> DeltaTable:
        """Return a handle on one version, which stays there; a few are kept."""
        pinned = self._pinned.get((table, version))
        if pinned is not None:
            return pinned
        try:
            if not 0 <= version <= latest:
                raise DeltaError
            handle = DeltaTable(self._place(table), version=version, storage_options=self._options)
            while len(self._pinned) >= PINNED:
                del self._pinned[next(iter(self._pinned))]
            self._pinned[table, version] = handle
            return handle
        except (DeltaError, TableNotFoundError):
            raise NotFoundError(
                f"table `{table}` has no version {version}; the latest is {latest}.",
                hint="" if version > latest else "its log was cleaned up",
            ) from None


def _contended(table: str) -> ConflictError:
    return ConflictError(
        f"table `{table}` was changed by others {ATTEMPTS} times while rows were appended.",
        code="HF301",
        hint="try again when fewer processes write to it",
    )


def _demand_format(table: str, handle: DeltaTable) -> None:
    """Refuse a table of another maker, or of a version that is yet to come."""
    described = handle.metadata().description or ""
    written = _DESCRIPTION.fullmatch(described)
    if written is None:
        raise ConflictError(
            f"table `{table}` is not of holdfast: its description is {described!r}.",
            code="HF304",
            hint="use another folder for the lake",
        )
    if int(written[1]) > FORMAT:
        raise ConflictError(
            f"table `{table}` has row version {written[1]}; this version of holdfast reads up to {FORMAT}.",
            code="HF304",
            hint="upgrade holdfast",
        )


def _types(handle: DeltaTable) -> dict[str, pl.DataType]:
    return dict(pl.scan_delta(handle).collect_schema())


def _fitted(table: str, frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the frame with the table's columns first; refuse a column of another type.

    delta-rs casts what it can, silently: so types are compared before it sees them.
    """
    for name, found in frame.schema.items():
        if name in types and types[name] != found:
            raise ContractError(
                f"column `{name}` of table `{table}` is {types[name]}, found {found}.",
                code="HF202",
                at=f"{table}.{name}",
                hint="give the changed column another name",
            )
    absent = [
        pl.lit(None, dtype=kind).alias(name) for name, kind in types.items() if name not in frame.columns
    ]
    full = frame.with_columns(absent) if absent else frame
    return full.select(*types, *(name for name in frame.columns if name not in types))


@contextmanager
def _translated(table: str) -> Iterator[None]:
    """Translate what the drivers raise."""
    try:
        yield
    except HoldfastError:
        raise
    except pl.exceptions.ColumnNotFoundError as error:
        name = str(error).partition("\n")[0]
        raise NotFoundError(f"table `{table}` has no column {name}.", code="HF102") from error
    except (DeltaError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        text = str(error).partition("\n")[0]
        raise UnavailableError(f"table `{table}` cannot be used: {text}.", code="HF600") from error
