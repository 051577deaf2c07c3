from pathlib import Path

import pytest
from tests.serving_world import deploy, make_project

from holdfast.adapters.bundles import BundleFolder
from holdfast.adapters.lightgbm import LightGBMText
from holdfast.app.applied import applied_project
from holdfast.app.state import wanted_state
from holdfast.app.wire import Wiring


def test_a_look_for_another_state_loads_no_model_and_reads_a_bundle_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path / "shop")
    deploy(folder, seed=2)
    wiring = Wiring(folder)
    project = applied_project(wiring)
    read: list[str] = []
    load = BundleFolder.load

    def noted(self: BundleFolder, name: str) -> object:
        read.append(name)
        return load(self, name)

    def refuse(self: LightGBMText, content: bytes) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(BundleFolder, "load", noted)
    monkeypatch.setattr(LightGBMText, "load", refuse)

    found = [wanted_state(wiring, project) for _ in range(3)]

    assert len({plan.fingerprint for plan in found}) == 1
    assert len(read) == len(set(read)) == 2
    assert {view.name for view in found[0].views} == {"spending"}
