"""Real data on slices: every row of theirs is stored, a duplicate, or in quarantine for a known reason."""

from pathlib import Path

import polars as pl
import pytest
from benchmarks.real_data import account, copy_project, counted, find_data, load, take_in


def slice_of(name: str, *, rows: int | None = None, where: pl.Expr | None = None) -> pl.DataFrame:
    """Read part of a file of the data folder; skip the test where it is absent."""
    path = find_data(name)
    if path is None:
        pytest.skip(f"{name}.parquet is not in ../shared/data, nor where HOLDFAST_TEST_DATA says")
    lazy = pl.scan_parquet(path)
    lazy = lazy if where is None else lazy.filter(where)
    return (lazy if rows is None else lazy.head(rows)).collect()


# --- online retail ------------------------------------------------------------------------------------


def test_retail_lines_without_ids_are_told_apart_by_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = slice_of("online_retail_i", rows=30_000)
    home = copy_project("retail", tmp_path)
    script = load(home / "prepare.py")
    script.prepare(lines, home / "events")

    workspace, reports = take_in(home, ("sales", "cancellations"))

    sales, cancellations = reports["sales"].now, reports["cancellations"].now
    assert sales.rows + cancellations.rows == lines.height
    bad = lines.filter(~pl.col("InvoiceNo").str.starts_with("C"), pl.col("Quantity") < 0)
    assert sales.quarantined == {"HF203": bad.height}
    assert bad.height > 0
    assert sales.duplicates + cancellations.duplicates == lines.height - lines.n_unique() > 0
    (first, *_) = workspace.quarantine("sales", limit=1)
    assert first["reason"].startswith("`quantity` must be at least 1, found -")
    account("slice", reports)
    assert "adds up" in capsys.readouterr().out
    assert ("retail_sales_duplicates", sales.duplicates, "rows") in counted("retail", reports)
    ties = script.tie(workspace.wiring.lake.read("sales"), workspace.wiring.lake.read("cancellations"))
    assert sum(ties.values()) == cancellations.stored


def test_cancellation_is_tied_to_the_sale_that_it_fits(tmp_path: Path) -> None:
    script = load(copy_project("retail", tmp_path) / "prepare.py")
    columns = ["at", "customer_id", "stock_code", "price", "quantity"]
    sales = [(1, 7, "A", 250, 6), (2, 7, "A", 250, 4), (3, 7, "B", 100, 10), (9, 7, "C", 100, 1)]
    cancellations = [
        (4, 7, "A", 250, -4),  # the second sale of A, whole
        (5, 7, "A", 250, -4),  # part of the first; of the second nothing is left
        (5, 7, "A", 250, -3),  # nothing has three left
        (6, 7, "C", 100, -1),  # the sale is later
        (6, None, "B", 100, -1),
        (7, 7, "B", 99, -1),  # another price
    ]
    frames = [
        pl.DataFrame(rows, schema=columns, orient="row").with_columns(
            pl.col("at").cast(pl.Datetime("us", "UTC"))
        )
        for rows in (sales, cancellations)
    ]

    assert script.tie(*frames) == {
        "a whole sale": 1,
        "part of a sale": 1,
        "more than any one sale": 1,
        "no sale before": 2,
        "no customer": 1,
    }


# --- complete journey ---------------------------------------------------------------------------------


def test_journey_is_held_to_its_contract_and_every_line_accounted_for(tmp_path: Path) -> None:
    tables = {
        "lines": slice_of("completejourney_transactions", where=pl.col("week") <= 2),
        "products": slice_of("completejourney_products"),
        "promotions": slice_of("completejourney_promotions", where=pl.col("week") == 2),
        "redemptions": slice_of("completejourney_coupon_redemptions"),
    }
    tables["promotions"] = tables["promotions"].head(20_000)
    home = copy_project("journey", tmp_path)
    load(home / "prepare.py").prepare({name: table.lazy() for name, table in tables.items()}, home / "events")

    workspace, reports = take_in(home, tables)

    assert {name: report.rows for name, report in reports.items()} == {
        name: table.height for name, table in tables.items()
    }
    nothing_bought = tables["lines"].filter(pl.col("quantity") == 0).height
    assert reports["lines"].now.quarantined == {"HF203": nothing_bought}
    assert nothing_bought > 0
    for name in ("products", "promotions", "redemptions"):
        assert reports[name].now.stored == tables[name].height
    starts = workspace.wiring.lake.read("promotions", ["starts_at"])["starts_at"]
    assert starts.dt.strftime("%F %T").unique().to_list() == ["2017-01-02 05:00:00"]


# --- flights ------------------------------------------------------------------------------------------

FLIGHTS = ("flights", "departures", "arrivals", "weather", "planes")


def test_flights_become_what_was_known_when_and_a_model_learns_from_it(tmp_path: Path) -> None:
    flights = slice_of("nycflights13_flights", where=(pl.col("month") == 1) & (pl.col("day") <= 16))
    weather = slice_of("nycflights13_weather", where=(pl.col("month") == 1) & (pl.col("day") <= 16))
    planes, airports = slice_of("nycflights13_planes"), slice_of("nycflights13_airports")
    home = copy_project("flights", tmp_path)
    script = load(home / "prepare.py")
    script.prepare(flights, airports, weather, planes, home / "events")
    text = (home / "project.py").read_text()
    for old, new in {
        'test="45d", validation="30d"': 'test="4d", validation="2d"',
        '"n_estimators": 500': '"n_estimators": 40',
        "n_jobs=2": "n_jobs=1",
        '"auc") >= 0.65': '"auc") >= 0.55',
        ">= 0.30": ">= 0.2",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (home / "project.py").write_text(text)

    workspace, reports = take_in(home, FLIGHTS)
    trained = workspace.train("late", seed=7, by="test")

    assert reports["flights"].now.stored == flights.height
    assert reports["departures"].now.stored == flights["dep_delay"].count()
    assert reports["arrivals"].now.stored == flights["arr_delay"].count()
    assert all(report.adds_up and not report.now.refused for report in reports.values())
    left_out = trained.dataset["immature"] + trained.dataset["unlabelled"]
    assert trained.dataset["rows"] == flights.height - left_out
    assert 0 < trained.dataset["unlabelled"] <= flights["arr_delay"].null_count()
    assert trained.version is not None, trained.message
    assert trained.run.suspicions == ()
    frame = workspace.wiring.snapshots.load(trained.version.dataset).frame
    assert script.weather_differs(frame, weather) == (5 * trained.dataset["rows"], 0)
    assert script.weather_differs(frame, weather.with_columns(pl.col("temp") + 1))[1] > 0.9 * frame.height


def test_local_clocks_become_instants_through_the_night_when_clocks_change(tmp_path: Path) -> None:
    nights = (pl.col("month") == 3) & pl.col("day").is_in([9, 10, 11])
    nights |= (pl.col("month") == 11) & pl.col("day").is_in([2, 3, 4])
    flights, airports = slice_of("nycflights13_flights", where=nights), slice_of("nycflights13_airports")
    script = load(copy_project("flights", tmp_path) / "prepare.py")

    table = script.with_instants(flights, airports)

    published = pl.col("time_hour").str.to_datetime("%FT%TZ", time_zone="UTC", time_unit="us")
    assert table.filter(pl.col("leaves_at") != published + pl.duration(minutes="minute")).is_empty()
    assert table["lands_at"].null_count() == 0
    # One flight was in the air when clocks changed and stands in the table as if they had not.
    assert script.clock_differs(table) == 1
