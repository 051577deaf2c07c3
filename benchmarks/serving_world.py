"""The fraud example, trained, deployed and with its online state built, for benchmarks of serving."""

import shutil
from pathlib import Path

from holdfast.app.wire import Wiring
from holdfast.app.workspace import Workspace
from holdfast.cli.demo import HISTORY, Demo
from holdfast.cli.main import app
from holdfast.features.online import compile_state, dump_plan, fold, load_plan
from holdfast.kernel.errors import HoldfastError

STATE_BATCH = 1


def prepare(folder: Path) -> Path:
    """Return the folder of the project, made once; anew where another version of holdfast has made it."""
    if not _can_be_read(folder):
        shutil.rmtree(folder, ignore_errors=True)
        demo = Demo(folder)
        app(["init", "fraud", str(folder)], standalone_mode=False)
        demo.run("apply", "--by", "eva")
        workspace = Workspace(folder)
        demo.ingest(workspace, demo.simulate(0, HISTORY, HISTORY))
        demo.run("train", "fraud", "--seed", "7", "--by", "eva")
        demo.run("approve", "fraud", "1", "--by", "ana", "--reason", "for the benchmark")
        demo.run("deploy", "fraud", "1", "--by", "ana")
        build_state(workspace)
    return folder


def _can_be_read(folder: Path) -> bool:
    if not (folder / ".holdfast" / "online" / "current").exists():
        return False
    try:
        store = Workspace(folder).wiring.online
        current = store.current()
        if current is None:
            return False
        reader = store.reader(current)
        load_plan(reader.plan)
        reader.close()
    except HoldfastError:
        return False
    return True


def build_state(workspace: Workspace) -> None:
    """Fill one generation of online state with everything the lake holds."""
    wiring: Wiring = workspace.wiring
    project = workspace.project
    plan = compile_state(
        list(project.views.values()), {name: source.schema for name, source in project.sources.items()}
    )
    generation = wiring.online.create(plan.fingerprint, dump_plan(plan))
    writer = wiring.online.writer(generation)
    try:
        for name in project.sources:
            writer.fill(fold(plan, name, wiring.lake.read(name)))
        writer.commit(wiring.batch_log.read().number, {})
    finally:
        writer.close()
    wiring.online.make_current(generation)
