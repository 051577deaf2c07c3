"""What every registry store must do: subclass `RegistryStoreContract`, override `store`, and run pytest.

Names of tests are the sentences of the contract.
"""
# ruff: noqa: D102

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from holdfast.kernel.errors import ConflictError, ContractError, NotFoundError
from holdfast.registry.alias import Alias
from holdfast.registry.approval import Approval
from holdfast.registry.ledger import Entry, verify
from holdfast.registry.ports import Definition, RegistryStore, RegistryWork, RunRecord
from holdfast.registry.version import ModelVersion

_PAYLOAD = {"metrics": {"average_precision": 0.1 + 0.2, "rows": 2**53 + 1}, "note": 'é\n"', "seed": None}


class _StopError(Exception):
    """Ends a transaction early."""


def _add(work: RegistryWork, model: str = "fraud", run: str = "r-1", bundle: str = "b-1") -> ModelVersion:
    work.save_run(run, model, {})
    version, _ = work.add_version(
        model=model, bundle=bundle, run=run, dataset="d-1", author="ana", created_us=5
    )
    return version


def _append(work: RegistryWork, subject: str = "fraud@1", action: str = "note", /, **evidence: Any) -> Entry:
    return work.append(
        at_us=7, actor="ana", action=action, subject=subject, reason="because", evidence=evidence
    )


class RegistryStoreContract:
    """The contract of `holdfast.registry.ports.RegistryStore`, sentence by sentence."""

    @pytest.fixture
    def store(self) -> RegistryStore:
        """Return an empty store."""
        raise NotImplementedError("override the fixture `store`")

    # ------------------------------------------------------------------------------------ transactions

    def test_empty_store_has_nothing(self, store: RegistryStore) -> None:
        assert store.find_run("r-1") is None
        assert store.find_version("fraud", 1) is None
        assert store.find_alias("fraud", "champion") is None
        assert store.current_definition("risk") is None
        assert store.list_runs() == []
        assert store.list_versions() == []
        assert store.list_approvals("fraud", 1) == []
        assert store.list_entries() == []

    def test_transaction_reads_its_own_writes_and_others_see_them_at_its_end(
        self, store: RegistryStore
    ) -> None:
        with store.transaction() as work:
            version = _add(work)
            entry = _append(work)

            assert work.find_version("fraud", 1) == version
            assert work.list_entries() == [entry]
            assert store.find_version("fraud", 1) is None
            assert store.list_entries() == []

        assert store.find_version("fraud", 1) == version
        assert store.list_entries() == [entry]

    def test_transaction_that_raises_leaves_nothing_behind(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            _add(work)
            alias = work.compare_and_set("fraud", "champion", 1, 0)
            kept = _all_of(work)

        with pytest.raises(_StopError), store.transaction() as work:  # noqa: PT012
            work.save_run("r-1", "fraud", {"changed": True})
            work.set_state("fraud", 1, "champion")
            work.compare_and_set("fraud", "champion", None, alias.revision)
            work.add_approval(Approval("fraud", 1, "ben", "", "fine", 6))
            work.record_definition(Definition("risk", "f-1", {}))
            _add(work, run="r-2", bundle="b-2")
            _append(work)
            raise _StopError

        assert _all_of(store) == kept
        assert store.current_definition("risk") is None

    def test_transactions_of_threads_take_effect_one_after_another(self, store: RegistryStore) -> None:
        together = threading.Barrier(4)

        def act(worker: int) -> None:
            together.wait()
            for turn in range(5):
                with store.transaction() as work:
                    name = f"{worker}-{turn}"
                    version = _add(work, run=f"r-{name}", bundle=f"b-{name}")
                    time.sleep(0.001)  # invites the other threads in
                    _append(work, version=version.number)

        threads = [threading.Thread(target=act, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [version.number for version in store.list_versions("fraud")] == list(range(1, 21))
        assert [entry.evidence["version"] for entry in store.list_entries()] == list(range(1, 21))
        assert verify(store.list_entries()) is None

    # -------------------------------------------------------------------------------------------- runs

    def test_run_is_read_back_as_it_was_saved(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            work.save_run("r-1", "fraud", _PAYLOAD)

        assert store.find_run("r-1") == RunRecord("r-1", "fraud", _PAYLOAD)

    def test_run_saved_again_is_replaced_and_keeps_its_place(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            work.save_run("r-2", "fraud", {"state": "running"})
            work.save_run("r-1", "fraud", {})
            work.save_run("r-0", "demand", {})
        with store.transaction() as work:
            work.save_run("r-2", "fraud", {"state": "finished"})

        assert [run.id for run in store.list_runs()] == ["r-2", "r-1", "r-0"]
        assert [run.id for run in store.list_runs("fraud")] == ["r-2", "r-1"]
        assert store.list_runs("fraud")[0].payload == {"state": "finished"}

    def test_run_of_another_model_is_refused(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            work.save_run("r-1", "fraud", {})

        with pytest.raises(ConflictError, match="`fraud`, not `demand`"), store.transaction() as work:
            work.save_run("r-1", "demand", {})

    def test_payload_that_is_no_json_is_refused(self, store: RegistryStore) -> None:
        with pytest.raises(ContractError) as caught, store.transaction() as work:
            work.save_run("r-1", "fraud", {"loss": float("nan")})

        assert caught.value.code == "HF202"

    # ---------------------------------------------------------------------------------------- versions

    def test_versions_are_numbered_from_one_within_their_model(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            _add(work, "fraud", "r-1", "b-1")
            _add(work, "demand", "r-2", "b-2")
            _add(work, "fraud", "r-3", "b-3")

        assert [version.name for version in store.list_versions()] == ["demand@1", "fraud@1", "fraud@2"]
        assert store.list_versions("fraud") == [
            ModelVersion("fraud", 1, "b-1", "r-1", "d-1", "ana", 5, "registered"),
            ModelVersion("fraud", 2, "b-3", "r-3", "d-1", "ana", 5, "registered"),
        ]

    def test_version_of_the_same_bundle_and_run_is_added_once(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            first = _add(work)
            work.set_state("fraud", 1, "approved")

        with store.transaction() as work:
            again = work.add_version(
                model="fraud", bundle="b-1", run="r-1", dataset="d-2", author="ben", created_us=9
            )

        assert again == (first.move("approved"), False)
        assert store.list_versions() == [first.move("approved")]

    def test_same_bundle_from_another_run_is_another_version(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            _add(work, run="r-1")
            _add(work, run="r-2")

        assert [version.number for version in store.list_versions()] == [1, 2]

    def test_version_of_an_unknown_run_is_refused(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError, match="no run `r-9`"), store.transaction() as work:
            work.add_version(model="fraud", bundle="b", run="r-9", dataset="d", author="ana", created_us=1)

    def test_state_of_one_version_changes_alone(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            first, second = _add(work), _add(work, run="r-2")
            work.set_state("fraud", 2, "barred")

        assert store.list_versions() == [first, second.move("barred")]

    def test_state_of_an_unknown_version_is_refused(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError), store.transaction() as work:
            work.set_state("fraud", 1, "approved")

    # ----------------------------------------------------------------------------------------- aliases

    def test_compare_and_set_moves_an_alias_and_counts_revisions(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            _add(work)
            moved = [
                work.compare_and_set("fraud", "champion", 1, 0),
                work.compare_and_set("fraud", "champion", None, 1),
                work.compare_and_set("fraud", "challenger", 1, 0),
            ]

        assert moved == [
            Alias("fraud", "champion", 1, 1),
            Alias("fraud", "champion", None, 2),
            Alias("fraud", "challenger", 1, 1),
        ]
        assert store.find_alias("fraud", "champion") == moved[1]
        assert store.find_alias("fraud", "challenger") == moved[2]
        assert store.find_alias("demand", "champion") is None

    @pytest.mark.parametrize("expected", [0, 2])
    def test_compare_and_set_at_another_revision_changes_nothing(
        self, store: RegistryStore, expected: int
    ) -> None:
        with store.transaction() as work:
            _add(work)
            kept = work.compare_and_set("fraud", "champion", 1, 0)

        with pytest.raises(ConflictError) as caught, store.transaction() as work:
            work.compare_and_set("fraud", "champion", None, expected)

        assert caught.value.code == "HF301"
        assert store.find_alias("fraud", "champion") == kept

    def test_alias_of_an_unknown_version_is_refused(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError), store.transaction() as work:
            work.compare_and_set("fraud", "champion", 1, 0)

    def test_of_compare_and_sets_that_expect_one_revision_one_succeeds(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            _add(work)
        together, won = threading.Barrier(4), []

        def act(worker: int) -> None:
            together.wait()
            for revision in range(5):
                try:
                    with store.transaction() as work:
                        work.compare_and_set("fraud", "champion", 1, revision)
                except ConflictError:
                    together.wait()
                else:
                    won.append((revision, worker))
                    together.wait()

        threads = [threading.Thread(target=act, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(revision for revision, _ in won) == list(range(5))
        assert store.find_alias("fraud", "champion") == Alias("fraud", "champion", 1, 5)

    # --------------------------------------------------------------------------------------- approvals

    def test_approvals_are_listed_oldest_first(self, store: RegistryStore) -> None:
        given = [
            Approval("fraud", 1, "cem", "risk-lead", "metrics seen", 9),
            Approval("fraud", 1, "ben", "risk-lead", "slices seen", 4),
            Approval("fraud", 1, "ben", "", "looks fine", 5),
        ]
        with store.transaction() as work:
            _add(work)

            assert [work.add_approval(approval) for approval in given] == [True, True, True]

        assert store.list_approvals("fraud", 1) == given
        assert store.list_approvals("fraud", 2) == []

    def test_approval_by_the_same_person_in_the_same_role_is_kept_once(self, store: RegistryStore) -> None:
        first = Approval("fraud", 1, "ben", "risk-lead", "fine", 4)
        with store.transaction() as work:
            _add(work)
            work.add_approval(first)

            assert not work.add_approval(Approval("fraud", 1, "ben", "risk-lead", "still fine", 8))

        assert store.list_approvals("fraud", 1) == [first]

    def test_approval_of_an_unknown_version_is_refused(self, store: RegistryStore) -> None:
        with pytest.raises(NotFoundError), store.transaction() as work:
            work.add_approval(Approval("fraud", 1, "ben", "", "fine", 4))

    # ------------------------------------------------------------------------------------- definitions

    def test_definition_recorded_last_is_current(self, store: RegistryStore) -> None:
        first, second = Definition("risk", "f-1", {"views": [1]}), Definition("risk", "f-2", {"views": []})
        with store.transaction() as work:
            recorded = [work.record_definition(item) for item in (first, first, second, second, first)]

        assert recorded == [True, False, True, False, True]
        assert store.current_definition("risk") == first
        assert store.current_definition("sales") is None

    # ----------------------------------------------------------------------------------------- history

    def test_last_entry_is_the_latest_with_its_action(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            written = [_append(work, "risk", action) for action in ("apply", "deploy", "apply", "train")]

        assert store.last_entry("apply") == written[2]
        assert store.last_entry("deploy") == written[1]
        assert store.last_entry("approve") is None

    def test_history_is_chained_and_read_back_as_written(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            written = [_append(work, "fraud@1", **_PAYLOAD), _append(work, "fraud@2")]
        with store.transaction() as work:
            written.append(_append(work, "fraud@1", table=(1, 2.0)))

        assert store.list_entries() == written
        assert [entry.sequence for entry in written] == [1, 2, 3]
        assert written[2].evidence == {"table": [1, 2.0]}
        assert verify(store.list_entries()) is None

    def test_history_is_filtered_by_exact_subject_and_sequence(self, store: RegistryStore) -> None:
        with store.transaction() as work:
            for subject in ("fraud@1", "fraud@10", "Fraud@1", "fraud@1"):
                _append(work, subject)

        assert [entry.sequence for entry in store.list_entries("fraud@1")] == [1, 4]
        assert [entry.sequence for entry in store.list_entries(after=2)] == [3, 4]
        assert [entry.sequence for entry in store.list_entries("fraud@1", after=1)] == [4]


def _all_of(view: RegistryStore | RegistryWork) -> tuple[object, ...]:
    """Return all that a contract test stores, to compare before and after."""
    return (
        view.list_runs(),
        view.list_versions(),
        view.list_approvals("fraud", 1),
        view.find_alias("fraud", "champion"),
        view.list_entries(),
    )
