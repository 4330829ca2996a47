"""A recipe from its first stage to its report: the straight line of the project.

Plan -> data -> stages (each named by the digest of what made it) -> predictions -> export + gate -> bench -> report
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ssld import FAST_MKL, labels, weights
from ssld.config import recipe
from ssld.config.pool import DONE
from ssld.config.recipe import Plan
from ssld.data import fake, prepare
from ssld.distill.checkpoint import disk_errors, write_json
from ssld.distill.engine import check_engine
from ssld.distill.job import Job
from ssld.distill.labelling import filled_cache, logits_for
from ssld.distill.pretrained import check_starts
from ssld.distill.quantised import check_installed, float_teacher, in_int8
from ssld.distill.setup import (
    QUANTIZE,
    Teacher,
    check_beforehand,
    check_data,
    file_list,
    is_done,
    load_teacher,
    loaders,
    make_network,
    noted,
    stage_folder,
)
from ssld.distill.stage import run_stage
from ssld.distill.teacher_mining import mine_pool
from ssld.errors import DataError, RunError
from ssld.files import alone, write_whole
from ssld.paths import data_root
from ssld.progress import note, progress
from ssld.publish import publish, publish_labels, start_track
from ssld.report import write_report
from ssld.result import finish
from ssld.runtime import Runtime, barrier
from ssld.track import Options

PATIENCE = 30  # seconds for a run that was stopped and still writes its checkpoint


def run(plan: Plan, out: Path, here: Runtime, options: Options) -> dict[str, Any]:
    """Run every stage that is not yet done in `out`, then export, measure and report; returns what result.json holds.

    Repeating the call resumes. `options`: who is told beside metrics.jsonl. Raises RunError when `out` holds the run of
    another recipe.
    """
    with opened(plan, out, here):
        if (out / "report.html").is_file():
            note(f"{out}: already finished")
            return json.loads((out / "result.json").read_text(encoding="utf-8")) if here.main else {}
        if plan.teacher:
            check_engine(plan.teacher.engine, here)
        check_starts(plan)
        root = ensure_data(plan, out, here)
        check_data(plan, root, here)
        check_installed(plan)
        borrow(plan, out, here)
        if here.main and (path := os.environ.get(FAST_MKL)):
            note(f"{FAST_MKL}={path}: MKL's fast path on AMD processors; an empty {FAST_MKL} in the environment stays")
        with start_track(plan, out, here, options) as log:
            stages = {}
            recipes_own = cache(lambda: load_teacher(plan, out, root, here))
            for name in plan.stages:
                stages[name] = stage_result(plan, name, recipes_own, out, root, log, here)
            from_card = plan.teacher and plan.teacher.card and any(stage.asks_teacher for stage in plan.stages.values())
            teacher = recipes_own() if from_card else None  # on every rank: they share the images of its gate
            return conclude(plan, out, root, stages, teacher, log, here) if here.main else {}


def conclude(
    plan: Plan, out: Path, root: Path, stages: dict[str, Any], teacher: Any, log: Any, here: Runtime
) -> dict[str, Any]:
    """After training, on rank 0: predictions, export, bench, result.json, report."""
    trained = time.monotonic()
    result = finish(plan, out, root, stages, teacher, here)
    result["wall_seconds"] = round(sum(stage["seconds"] for stage in stages.values()) + time.monotonic() - trained, 1)
    write_json(out / "result.json", result)
    publish(plan, out, result, log)
    write_report(out)
    return result


@contextmanager
def opened(plan: Plan, out: Path, here: Runtime) -> Iterator[None]:
    """The run folder, for this process and its ranks alone. RunError for another recipe's, or while it is in use."""
    open_folder(plan, out, here)
    with ExitStack() as held:
        for patience in (0, PATIENCE) if here.main else ():
            try:
                held.enter_context(alone(out, patience))
                break
            except BlockingIOError:
                busy = f"{out}: another process is at work in it"
                if patience:
                    raise RunError(f"{busy}; let it end, or choose another --out") from None
                note(f"{busy}; waiting {PATIENCE} s for its end")
        yield


def open_folder(plan: Plan, out: Path, here: Runtime) -> None:
    """Make the run folder, or recognise it as this recipe's own."""
    file = out / "plan.yaml"
    if file.is_file():
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        if first != f"# digest: {plan.digest}":
            raise RunError(f"{out}: holds the run of another recipe ({first[2:18]}...); choose another --out")
    elif out.is_dir() and any(found.name != "plan.yaml.partial" for found in out.iterdir()):
        raise RunError(f"{out}: is not empty and holds no run; choose another --out")
    barrier(here)
    if here.main and not file.is_file():
        with disk_errors(file):
            out.mkdir(parents=True, exist_ok=True)
            write_whole(file, f"# digest: {plan.digest}\n" + recipe.dump(plan))
    barrier(here)


def ensure_data(plan: Plan, out: Path, here: Runtime) -> Path:
    """The folder that list files are relative to; embedded data sets and a smoke run's images are made on demand."""
    root = out if plan.scope == "smoke" else data_root()
    if here.main and plan.scope == "smoke" and not (out / "fake" / "val.txt").is_file():
        fake(out / "fake", plan.classes, train=plan.smoke.images, val=plan.smoke.images, unlabelled=plan.smoke.images)
    for kind in plan.datasets if here.main else ():
        if not (root / kind / "dataset.json").is_file():
            with progress(0, f"prepare {kind}") as bar:
                prepare(kind, root / kind, progress=bar.count)
    barrier(here)
    steps = plan.prepare or {}
    if not all((root / name / DONE).is_file() for name in steps):
        check_beforehand(plan, root)
    for name, step in steps.items():
        try:
            mine_pool(step, root, root / name, here)  # returns at once when it was finished
        except (DataError, RunError) as error:
            raise type(error)(f"prepare.{name}: {error}") from None
    return root


def label(plan: Plan, out: Path, here: Runtime, sample: int, options: Options) -> list[dict[str, Any]]:
    """Make the label caches of a recipe whole, one row each; `sample` labels of each are compared with the teacher.

    Raises RunError when no stage asks for a cache, or the stage that trains the teacher is not done in `out`.
    """
    stages = [name for name, stage in plan.stages.items() if stage.labels]
    if not stages:
        raise RunError(f"{plan.name}: no stage asks for a label cache; add stages.<name>.labels (docs/labels.md)")
    with opened(plan, out, here):
        root = ensure_data(plan, out, here)
        borrow(plan, out, here)
        trains = plan.teacher and plan.teacher.stage
        if trains and not is_done(plan, trains, out):
            what = f"stage {trains!r} trains the teacher and is not done"
            raise RunError(f"{out}: {what}; `ssld run` trains it, and makes the cache itself")
        recipes_own, rows, cached = cache(lambda: load_teacher(plan, out, root, here)), [], {}
        for name in stages:
            held, ask = filled_cache(plan, name, teacher_of(plan, name, recipes_own, out), out, root, here)
            sizes = {"views": held.views, "labels": held.views * held.places, "bytes a label": held.layout.size}
            apart = {"max |diff| of softmax": labels.verify(held, ask(), sample)} if sample else {}
            rows.append({"stage": name, "folder": str(held.folder), **sizes, **apart})
            cached[name] = held.folder.name
        publish_labels(plan, out, cached, options)
        return rows


def teacher_of(plan: Plan, name: str, recipes_own: Callable[[], Teacher], out: Path) -> Teacher:
    """Who teaches a stage: the recipe's teacher, or the float network that a quantised stage starts from."""
    return recipes_own() if plan.stages[name].asks_teacher else float_teacher(plan, name, out)


def stage_result(
    plan: Plan,
    name: str,
    recipes_own: Callable[[], Teacher],
    out: Path,
    root: Path,
    log: Any,
    here: Runtime,
) -> dict[str, Any]:
    """The scores of a stage: its finished result if there is one, else train it."""
    folder, stage = stage_folder(plan, name, out), plan.stages[name]
    if not is_done(plan, name, out):
        network = make_network(plan, name, out)
        train, val = loaders(plan, name, root, here)
        norm_images = in_int8(plan, name, network, out, root, here) if stage.quantize else ()
        about_job: dict[str, Any] = {"name": name, "stage": stage, "folder": folder, "seed": plan.seed}
        given = file_list(plan, root, *stage.data.train).labels
        about_job |= {"classes": plan.classes, "labels": given, "norm_images": norm_images}
        job = Job(**about_job, runtime=here, track=log, train=train, val=val)
        taught = stage.is_taught and teacher_of(plan, name, recipes_own, out)
        logits = logits_for(plan, name, taught, out, root, here) if taught else None
        found = run_stage(job, network, logits)
        if here.main:
            with disk_errors(folder):
                weights.save(network, folder / "model.safetensors", digest=plan.stage_digest(name))
            about = {
                "digest": plan.stage_digest(name),
                "network": stage.network,
                "size": stage.data.crop,
                "ranks": here.world,
            } | ({"teacher_engine": logits.engine} if logits else {})
            if isinstance(logits, labels.CachedLogits):
                about["labels"] = logits.cache.folder.name
            about |= {"int8": noted(folder)} if stage.quantize else {}
            write_json(folder / "stage.json", {**about, **found})
        barrier(here)
    return json.loads((folder / "stage.json").read_text(encoding="utf-8"))


def borrow(plan: Plan, out: Path, here: Runtime) -> None:
    """Take over finished stages of the same digest from runs beside this one."""
    for name in plan.stages if here.main else ():
        folder, digest = stage_folder(plan, name, out), plan.stage_digest(name)
        for done in sorted(out.absolute().parent.glob(f"*/stages/{folder.name}/stage.json")):
            if not is_done(plan, name, out) and json.loads(done.read_text(encoding="utf-8"))["digest"] == digest:
                note(f"{name}: taken over from {done.parent.parent.parent.name}")
                folder.mkdir(parents=True, exist_ok=True)
                for file in ("model.safetensors", *([QUANTIZE] if plan.stages[name].quantize else []), "stage.json"):
                    shutil.copyfile(done.parent / file, folder / f"{file}.partial")
                    (folder / f"{file}.partial").replace(folder / file)
    barrier(here)
