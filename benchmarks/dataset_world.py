"""The fraud example with payments of many cards in its lake, and the same dataset made by DuckDB."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
from deltalake import DeltaTable

from holdfast.app.workspace import Workspace
from holdfast.cli.demo import HISTORY
from holdfast.cli.main import app
from holdfast.kernel.time import DAY, HOUR, MINUTE


def prepare(folder: Path, cards: int) -> Path:
    """Return the folder of the project with the history of so many cards ingested; made once."""
    made = folder / "made"
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        app(["init", "fraud", str(folder)], standalone_mode=False)
        app(["apply", "--by", "eva", "--project", str(folder)], standalone_mode=False)
        _simulate(folder, cards)
        workspace = Workspace(folder)
        for source in ("transactions", "chargebacks"):
            workspace.ingest(source, folder / "events" / source)
        made.touch()
    return folder


def _simulate(folder: Path, cards: int) -> None:
    command = [sys.executable, str(folder / "simulator.py"), "--days", str(HISTORY), "--cards", str(cards)]
    subprocess.run([*command, "--out", str(folder / "events")], check=True, stdout=subprocess.DEVNULL)


# --- the peer -----------------------------------------------------------------------------------------


def _since(over: int, hop: int) -> str:
    """Return how far a window reaches back from `at`, in microseconds."""
    return f'"at" - ("at" - {over}) // {hop} * {hop}' if hop else str(over)


_SPANS = {
    "10m": (10 * MINUTE, 0),
    "1h": (HOUR, 5 * MINUTE),
    "24h": (DAY, HOUR),
    "3d": (3 * DAY, HOUR),
    "7d": (7 * DAY, HOUR),
    "30d": (30 * DAY, DAY),
}
_KEYS = {
    "card": ("card_id",),
    "device": ("card_id", "device_id"),
    "country": ("card_id", "country"),
    "merchant": ("card_id", "terminal_id"),
    "terminal": ("terminal_id",),
}
_WINDOWS = (
    "card_10m", "card_1h", "card_24h", "card_7d", "card_30d", "device_1h", "device_30d", "country_30d",
    "merchant_30d", "terminal_24h", "terminal_7d",
)  # fmt: skip


def _window(name: str) -> str:
    entity, span = name.rsplit("_", 1)
    since = _since(*_SPANS[span])
    keys = ", ".join(_KEYS[entity])
    return f'{name} AS (PARTITION BY {keys} ORDER BY "at" RANGE BETWEEN {since} PRECEDING AND 1 PRECEDING)'


def _of_chargebacks(entity: str, *spans: str) -> str:
    """Return counts of the chargebacks of an entity that were known, by transaction."""
    counts = ", ".join(
        f'count(*) FILTER (WHERE c."at" >= (t."at" - {over}) // {hop} * {hop}) AS {entity}_fraud_{span}'
        for span, (over, hop) in ((span, _SPANS[span]) for span in spans)
    )
    over, hop = _SPANS[spans[-1]]
    return (
        f"SELECT t.tx_id, {counts} FROM tx t JOIN cb c ON c.{entity}_id = t.{entity}_id "
        f'AND c."at" >= (t."at" - {over}) // {hop} * {hop} AND c."at" < t."at" AND c.arrived <= t.arrived '
        "GROUP BY t.tx_id"
    )


def _std(window: str) -> str:
    """Return the sample deviation of exact sums; `stddev_samp` rounds on the way, and its digits show it."""
    n, s, q = (
        f"{what} OVER {window}" for what in ("count(*)", "sum(amount)", "sum(amount::HUGEINT * amount)")
    )
    spread = f"(({n}) * ({q}) - ({s}) * ({s}))::DOUBLE"
    return f"CASE WHEN ({n}) > 1 THEN sqrt({spread} / (({n})::HUGEINT * (({n}) - 1) * 10000)::DOUBLE) END"


def _mean(window: str) -> str:
    return f"sum(amount) OVER {window}::DOUBLE / (count(*) OVER {window} * 100)::DOUBLE"


SQL = f"""
COPY (
WITH windows AS (
    SELECT tx_id, "at", arrived, card_id, terminal_id, amount / 100.0::DOUBLE AS amount, country, channel,
        count(*) OVER card_10m AS card_count_10m,
        count(*) OVER card_1h AS card_count_1h,
        count(*) OVER card_24h AS card_count_24h,
        count(*) FILTER (WHERE amount < 500) OVER card_1h AS card_small_1h,
        count(*) FILTER (WHERE channel = 'online') OVER card_24h AS card_online_24h,
        coalesce(sum(amount) OVER card_24h, 0)::DOUBLE / 100 AS card_spend_24h,
        (max(amount) OVER card_7d)::DOUBLE / 100 AS card_max_7d,
        {_mean("card_30d")} AS card_mean_30d,
        {_std("card_30d")} AS card_std_30d,
        count(*) OVER card_30d AS card_count_30d,
        CASE WHEN device_id IS NULL THEN 0 ELSE count(*) OVER device_30d END AS device_count_30d,
        CASE WHEN device_id IS NULL THEN 0 ELSE count(*) OVER device_1h END AS device_count_1h,
        CASE WHEN country IS NULL THEN 0 ELSE count(*) OVER country_30d END AS country_count_30d,
        count(*) OVER merchant_30d AS merchant_count_30d,
        count(*) OVER terminal_24h AS terminal_count_24h,
        {_mean("terminal_7d")} AS terminal_mean_7d,
        count(*) OVER terminal_7d AS terminal_count_7d
    FROM tx WINDOW {", ".join(_window(name) for name in _WINDOWS)}
),
terminal_risk AS ({_of_chargebacks("terminal", "3d", "7d", "30d")}),
card_risk AS ({_of_chargebacks("card", "30d")}),
outcomes AS (SELECT tx_id, min(arrived) AS told FROM cb GROUP BY tx_id)
SELECT tx_id AS _key, "at" AS _t, arrived AS _known_at, card_id, terminal_id,
    amount,
    amount / nullif(card_mean_30d, 0) AS amount_vs_mean,
    (amount - card_mean_30d) / nullif(card_std_30d, 0) AS amount_z,
    amount / nullif(terminal_mean_7d, 0) AS amount_vs_terminal,
    coalesce(terminal_fraud_7d, 0) / nullif(terminal_count_7d, 0)::DOUBLE AS terminal_fraud_rate,
    "at" // {HOUR} % 24 AS hour,
    "at" // {HOUR} % 24 < 6 AS night,
    channel = 'online' AS online,
    country,
    card_count_10m, card_count_1h, card_count_24h, card_small_1h, card_online_24h, card_spend_24h,
    card_max_7d, card_mean_30d, card_std_30d, card_count_30d, device_count_30d, device_count_1h,
    country_count_30d, merchant_count_30d, terminal_count_24h, terminal_mean_7d, terminal_count_7d,
    coalesce(terminal_fraud_3d, 0) AS terminal_fraud_3d,
    coalesce(terminal_fraud_7d, 0) AS terminal_fraud_7d,
    coalesce(terminal_fraud_30d, 0) AS terminal_fraud_30d,
    coalesce(card_fraud_30d, 0) AS card_fraud_30d,
    CASE WHEN told <= "at" + {7 * DAY} THEN 1.0 ELSE 0.0 END AS _label
FROM windows LEFT JOIN terminal_risk USING (tx_id) LEFT JOIN card_risk USING (tx_id)
    LEFT JOIN outcomes USING (tx_id)
WHERE "at" + {7 * DAY} <= (SELECT greatest(max(arrived), (SELECT max(arrived) FROM cb)) FROM tx)
ORDER BY "at", tx_id
) TO '{{out}}' (FORMAT parquet, COMPRESSION zstd)
"""


def duckdb_dataset(folder: Path, out: Path) -> None:
    """Write the same rows, features and labels with DuckDB, from the files of the same lake."""
    lake = folder / ".holdfast" / "lake"
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        for view, table in (("tx", "transactions"), ("cb", "chargebacks")):
            files = json.dumps(DeltaTable(lake / table).file_uris()).replace('"', "'")
            connection.execute(
                f'CREATE VIEW {view} AS SELECT * REPLACE (epoch_us("at") AS "at"), _arrived AS arrived '
                f"FROM read_parquet({files})"
            )
        connection.execute(SQL.format(out=out))
