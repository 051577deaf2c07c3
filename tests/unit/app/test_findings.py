"""What a person is told when something fails or is missing: the fact, where it is kept, what comes next."""

import json
import re
import shutil
from typing import Any

import pytest
from tests.commands import holdfast

from holdfast.kernel.errors import HoldfastError, NotFoundError, RefusedError, UnavailableError
from holdfast.kernel.time import DAY, parse_instant


def test_failed_training_is_in_the_history_with_its_traceback(world: Any) -> None:
    world.edit(("    from lightgbm import", '    raise RuntimeError("no luck")\n    from lightgbm import'))
    holdfast("apply", "--by", "eva", cwd=world.folder)

    ran = holdfast("train", "fraud", "--by", "eva", cwd=world.folder)

    assert ran.status == 1
    assert "RuntimeError: no luck" in ran.err
    assert "Traceback" not in ran.err + ran.out
    (path,) = re.findall(r"\.holdfast/runs/r-\w+\.txt", ran.err.replace("\n", ""))
    assert "no luck" in (world.folder / path).read_text()
    last = world.open().history().entries[-1]
    assert (last.action, last.actor) == ("train", "eva")
    assert last.reason.startswith("failed: training function")
    assert last.evidence["traceback"] == path
    assert last.evidence["code"] == "HF602"


def test_plan_says_that_apply_would_refuse(world: Any) -> None:
    world.edit(("amount: Decimal = hf.field(scale=2", "amount: Decimal = hf.field(scale=3"))

    planned, applied = (holdfast(verb, cwd=world.folder) for verb in ("plan", "apply"))

    assert (planned.status, applied.status) == (1, 1)
    assert "will refuse this: source `transactions` holds rows that do not fit  [HF404]" in planned.out
    assert "[HF404]" in applied.err


@pytest.mark.parametrize("emptied", [True, False])
def test_lake_without_its_metadata_is_an_error(world: Any, emptied: bool) -> None:
    meta = world.folder / ".holdfast" / "meta.db"
    for path in meta.parent.glob("meta.db*"):
        path.unlink()
    if emptied:
        meta.touch()
    workspace = world.open()

    for ask in (workspace.models, workspace.history, workspace.plan, workspace.apply):
        with pytest.raises(UnavailableError, match="though the lake holds") as refused:
            ask()
        assert refused.value.problem.at == str(meta)


def test_tampered_bundle_is_told_with_version_and_bundle(world: Any) -> None:
    version = world.open().models()[0].version
    path = world.folder / ".holdfast" / "bundles" / version.bundle / "card.md"
    path.chmod(0o644)
    path.write_text("all is well")

    with pytest.raises(RefusedError) as refused:
        world.open().predict("fraud", since=world.since, until=world.until)

    assert refused.value.problem.at == f"fraud@1: bundle {version.bundle[:12]}: card.md"


def test_errors_are_json_where_json_was_asked_for(world: Any) -> None:
    ran = holdfast("models", "fruad", "--json", cwd=world.folder)

    assert (ran.status, ran.err) == (1, "")
    error = json.loads(ran.out)["error"]
    assert (error["code"], error["hint"]) == ("HF300", "did you mean `fraud`?")


def test_champion_that_knows_the_test_rows_is_no_measure(world: Any) -> None:
    as_of = parse_instant(world.since) - 4 * DAY
    trained = world.open().train("fraud", seed=3, by="eva")
    earlier = world.open().train("fraud", seed=3, by="eva", as_of=as_of)

    relative = [g for g in trained.run.gates if g.gate.relative]
    assert {g.outcome for g in relative} == {"passed"}
    overlapping = [g for g in earlier.run.gates if g.gate.relative]
    assert {g.outcome for g in overlapping} == {"not applicable"}
    assert "fraud@1 learnt from events up to" in overlapping[0].reason


def test_unapproved_version_is_to_be_approved_first(rivals: Any) -> None:
    workspace = rivals.open()
    shutil.rmtree(rivals.folder / ".holdfast" / "online", ignore_errors=True)
    registry = workspace.wiring.registry
    with registry.transaction() as work:
        alias = work.find_alias("fraud", "champion")
        assert alias is not None
        work.compare_and_set("fraud", "champion", None, alias.revision)
        work.set_state("fraud", 1, "barred")

    with pytest.raises(NotFoundError, match="holdfast approve fraud 2 --by NAME"):
        workspace.predict("fraud")


def test_performance_says_when_there_are_answers(world: Any) -> None:
    with pytest.raises(NotFoundError) as found:
        world.open().performance("fraud", since="2020-01-01", until="2020-01-02")

    assert re.search(r"answers about events of \d{4}-\d\d-\d\d to", found.value.problem.has[0])


def test_label_source_without_rows_is_named(world: Any) -> None:
    shutil.rmtree(world.folder / ".holdfast")
    workspace = world.open()
    workspace.apply(by="eva")
    workspace.ingest("transactions", [world.folder / "events" / "from-0" / "transactions"])

    with pytest.raises(HoldfastError) as refused:
        workspace.train("fraud", seed=1, by="eva")

    assert "ingest `chargebacks`" in refused.value.problem.hint
