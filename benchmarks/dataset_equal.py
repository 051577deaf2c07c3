"""Whether a dataset is what somebody else made of the same events."""

import polars as pl

from holdfast.datasets.snapshot import PART, ROW_PREFIX, WEIGHT


def check_equal(ours: pl.DataFrame, theirs: pl.DataFrame, vocabulary: tuple[str, ...]) -> int:
    """Return how many values were compared, all of them equal, bit for bit; a category by what it stands for.

    Raises
    ------
    AssertionError
        If a row or value differs, with the column and how many do.
    """
    codes = {text: float(code) for code, text in enumerate(vocabulary, 1)}
    country = pl.col("country").replace_strict(codes, default=0.0, return_dtype=pl.Float64)
    theirs = theirs.with_columns(pl.when(pl.col("country").is_not_null()).then(country).alias("country"))
    assert ours.height == theirs.height, (ours.height, theirs.height)
    names = [name for name in theirs.columns if name in ours.columns]
    alone = {name for name in ours.columns if name not in names and not name.startswith(ROW_PREFIX)}
    assert alone == {WEIGHT, PART}, alone
    for name in names:
        a, b = ours[name], theirs[name].cast(ours[name].dtype)
        if a.dtype == pl.Float64:
            a, b = a.fill_nan(None), b.fill_nan(None)
        differing = (~a.eq_missing(b)).sum()
        assert not differing, f"{name}: {differing} of {a.len()} differ"
    return ours.height * len(names)
