"""Run a recipe from its first stage to its report. This module calls the parts of the project in their order.

They are plan, data, teachers, stages (each named by the digest of what made it), predictions, export with its gate,
bench and report.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from ssld import FAST_MKL, labels, weights, yaml_text
from ssld.callable import make_callable
from ssld.config import baseline, code, fresh, recipe
from ssld.config.mine_step import DONE
from ssld.config.recipe import Plan
from ssld.config.run_folder import METRICS, PLAN, REPORT, RESULT, read_plan, read_result, write_plan, write_result
from ssld.data import fake, prepare
from ssld.distill import checkpoint
from ssld.distill.checkpoint import NAMES, disk_errors, write_json
from ssld.distill.images import check_data, check_lists, images_of, loaders, steps_of
from ssld.distill.job import Job
from ssld.distill.labelling import filled_cache, labeller_of
from ssld.distill.networks import make_network, make_peers, noted, save_result
from ssld.distill.pretrained import check_starts
from ssld.distill.quantised import check_installed, in_int8
from ssld.distill.reuse import (
    MADE_OF,
    REPLACED,
    Carry,
    KnownParts,
    Trust,
    begin_anew,
    check_begun,
    is_current,
    take_over,
    to_train,
    trust_now,
)
from ssld.distill.runs import RECORD, PeerRecord, Run, StageMade, StageRecord, StageRun
from ssld.distill.space import check_space
from ssld.distill.stage import run_stage
from ssld.distill.teacher_mining import mine_pool
from ssld.distill.teacher_weights import save_trained, weights_digest
from ssld.distill.teachers import SeveralTeachers, Teacher, Teachers, check_engines, check_files, take_ends
from ssld.distill.trial import check_sizes, try_stages
from ssld.errors import RunError, SsldError
from ssld.files import alone, clear, first_difference, is_empty, json_digest, obstacle, read_json, sha256
from ssld.interfaces import Scores
from ssld.progress import note, progress
from ssld.publish import publish, publish_labels, start_track
from ssld.report import write_report
from ssld.result import OUTPUTS, check_bench, check_export, check_outputs, finish
from ssld.runtime import Runtime, barrier
from ssld.track import Options, Track
from ssld.track import check as check_trackers
from ssld.track.jsonl import Jsonl

make_callable(__name__)  # `ssld.run(...)` is the function of that name in `ssld.api`

PATIENCE = 30  # seconds that a stopped run gets to write its checkpoint
MADE_BEFORE_A_STEP = ("stages", "fake", "labels")  # folders of a run


def run_plan(plan: Plan, folder: Path, runtime: Runtime, options: Options, trust: Trust = "equal") -> dict[str, Any]:
    """Run every stage that is not yet done in `folder`, then export, measure and report.

    Returns the content of result.json; a second call resumes the run. `options` says which trackers get the numbers
    besides metrics.jsonl. `trust` says which finished stages are used again, see `reuse.Trust`. Raises RunError when
    the folder holds the run of another recipe.
    """
    run, known = Run.of_plan(plan, folder, runtime), KnownParts()
    with opened(run):
        trust = trust_now(run, trust)
        if trust != "none" and (result := finished(run, trust, known)) is not None:
            note(f"{folder}: already finished")
            return result if runtime.main else {}
        if runtime.main:
            check_trackers(options)
        check_engines(run)
        check_bench(plan)
        check_export(plan)
        check_starts(plan)
        teachers = Teachers(run)
        ensure_data(run, teachers)
        check_data(run)
        if runtime.main and (remark := baseline.unequal(plan, steps_of(run))):
            note(remark)
        check_files(run)
        check_installed(plan)
        left = to_train(run, trust, known)
        check_begun(left, trust, known)
        check_sizes(left)
        if runtime.main:
            check_space(run, left)
        teachers.check(left)
        try_stages(left, teachers)
        if runtime.main and (path := os.environ.get(FAST_MKL)):
            note(f"{FAST_MKL}={path}: MKL's fast path on AMD processors; an empty {FAST_MKL} in the environment stays")
        if trust == "none":
            begin_anew(run)
        with start_track(run, options) as log:
            stages = {name: stage_result(stage, teachers, log, trust, known) for name, stage in run.stages.items()}
            # Every rank loads the compared teachers, because the ranks share the check of a teacher.
            compared = teachers.of(run.stage(plan.compared)) if plan.compared else None
            return conclude(run, stages, compared, log) if runtime.main else {}


def finished(run: Run, trust: Trust, known: KnownParts) -> dict[str, Any] | None:
    """Return the result of a run that is finished and is still what its recipe would give now.

    Returns None where work is left; a line says where that is because a file was damaged or lost. A report that no
    longer belongs to such a result is removed.
    """
    report, result, reason = run.folder / REPORT, {}, None
    if not (report.is_file() and (run.folder / RESULT).exists()):
        return None
    current = all(is_current(stage, trust, known) for stage in run.stages.values())
    if current:
        try:
            result = read_result(run.folder, "")
            check_outputs(run, result)
        except SsldError as error:
            reason = str(error)
    barrier(run.runtime)
    if current and reason is None:
        if run.runtime.main:
            fresh.end(run.folder)
        return result
    if run.runtime.main:
        if reason:
            note(f"{reason.partition(';')[0]}; what follows the training is made anew")
        report.unlink()
    barrier(run.runtime)
    return None


def conclude(
    run: Run, stages: dict[str, StageRecord], compared: Teacher | SeveralTeachers | None, log: Track
) -> dict[str, Any]:
    """Make predictions, export, bench, result.json and report after the training. Only rank 0 calls this function.

    `compared` is the teacher that the student is compared with.
    """
    trained = time.monotonic()
    result = finish(run, stages, compared)
    result["wall_seconds"] = round(sum(stage["seconds"] for stage in stages.values()) + time.monotonic() - trained, 1)
    with disk_errors(run.folder / RESULT):
        write_result(run.folder, result)
    publish(run, result, log)
    write_report(run.folder)
    fresh.end(run.folder)
    return result


@contextmanager
def opened(run: Run) -> Iterator[None]:
    """Reserve the run folder for this process and its ranks, and remove what killed processes have not finished in it.

    Raises RunError for the folder of another recipe, and for a folder that another process uses.
    """
    folder = run.folder
    open_folder(run)
    with ExitStack() as locks:
        for patience in (0, PATIENCE) if run.runtime.main else ():
            try:
                locks.enter_context(alone(folder, patience))
                break
            except BlockingIOError:
                busy = f"{folder}: another process is at work in it"
                if patience:
                    raise RunError(f"{busy}; let it end, or choose another --out") from None
                note(f"{busy}; waiting {PATIENCE} s for its end")
        for place in (folder, folder / "stages", *folder.glob("stages/*")) if run.runtime.main else ():
            clear(place)
        yield


def open_folder(run: Run) -> None:
    """Make the run folder, or check that it belongs to this recipe.

    A folder that holds a plan of another recipe and no result of a step is taken over, because that run never began. A
    damaged plan and the damaged copies of the recipe's code are written anew. Raises RunError, which names what
    differs, for the folder of another recipe, and for one that holds something else.
    """
    folder, plan, runtime = run.folder, run.plan, run.runtime
    kept = kept_digest(run)
    barrier(runtime)
    if runtime.main:
        with disk_errors(folder / PLAN):
            folder.mkdir(parents=True, exist_ok=True)
            for name in MADE_BEFORE_A_STEP if kept not in (None, plan.digest) else ():
                shutil.rmtree(folder / name, ignore_errors=True)
            code.keep(plan.code, folder)
            if kept != plan.digest:
                write_plan(folder, plan.digest, recipe.dump(plan))
    barrier(runtime)


def kept_digest(run: Run) -> str | None:
    """Return the digest of the plan that the folder of a run keeps, which is that of the run or one that never began.

    Returns None where there is no plan, or the damaged one of this run, and "" for the damaged plan of a run that never
    began. Raises RunError where the folder is that of another run that has begun, or of something else.
    """
    folder, plan_digest = run.folder, run.plan.digest
    for name in (*OUTPUTS, METRICS, PLAN, RESULT):
        if what := obstacle(folder / name):
            raise RunError(f"{folder / name}: {what}; remove it, and repeat the command")
    try:
        digest = read_plan(folder, "")[0]
    except RunError as error:
        if not folder.exists() or is_empty(folder, but=(fresh.FRESH, code.COPIES)):
            return None  # a process may have been killed before it wrote the plan
        is_there = (folder / PLAN).exists()
        is_ours = holds_stages_of(run) and digest_of_result(folder) in (None, plan_digest)
        if not is_ours and (not is_there or has_results(folder)):
            what = str(error) if is_there else f"{folder}: is not empty and holds no run"
            raise RunError(f"{what}; choose another --out") from None
        note(f"{error}; it is written anew")
        return None if is_ours else ""
    if digest == plan_digest or not has_results(folder):
        return digest
    if not (holds_stages_of(run) and digest_of_result(folder) == plan_digest):
        raise RunError(f"{folder}: holds the run of another recipe{_difference(run)}; choose another --out")
    note(f"{folder / PLAN}: damaged (it is of another run than {RESULT}); it is written anew")
    return None


def holds_stages_of(run: Run) -> bool:
    """Return whether a run folder holds stages of this plan, and no other ones."""
    stages = {path.name for path in (run.folder / "stages").glob("*")} - {REPLACED}
    return bool(stages) and stages <= {stage.folder.name for stage in run.stages.values()}


def digest_of_result(folder: Path) -> str | None:
    """Return the digest of the plan that the result of a run names; None without a result that can be read."""
    try:
        return read_json(folder / RESULT, "").get("digest")
    except RunError:
        return None


def has_results(folder: Path) -> bool:
    """Return whether a run folder holds what came of a step."""
    made = (f"stages/*/{NAMES}", f"stages/*/{RECORD}", f"stages/{REPLACED}", METRICS, RESULT)
    return any(any(folder.glob(name)) for name in made)


def _difference(run: Run) -> str:
    """Return in words the first key in which the plan that a run folder keeps differs from that of the run."""
    try:
        kept = yaml_text.parse(read_plan(run.folder, "")[1])
    except SsldError:
        return ""
    return first_difference(recipe.plan_tree(run.plan), kept)


def ensure_data(run: Run, teachers: Teachers) -> None:
    """Make the embedded data sets, the minings and the images of a smoke run that are missing.

    They are made in the data folder of the run.
    """
    plan, root, runtime = run.plan, run.data_root, run.runtime
    if runtime.main and run.is_smoke and not (root / "fake" / "val.txt").is_file():
        sizes = {"train": plan.smoke.images, "val": plan.smoke.images, "unlabelled": plan.smoke.images}
        fake(root / "fake", plan.classes, **sizes, test=plan.smoke.images if plan.test else 0)
    prepare_sets(run)
    barrier(runtime)
    steps = plan.prepare or {}
    if not all((root / name / DONE).is_file() for name in steps):
        check_lists(run)
        check_files(run)
    loaders_of_teachers = {name: (lambda name=name: teachers.named(name)) for name in plan.all_teachers}
    for name, step in steps.items():
        try:
            # A mining that is finished returns at once.
            mine_pool(step, root, root / name, runtime, teachers=loaders_of_teachers)
        except SsldError as error:
            mend = f"name the step otherwise, or remove {root / name}"  # its folder follows from its name
            raise type(error)(f"prepare.{name}: {error}".replace("choose another --out", mend)) from None


def prepare_sets(run: Run) -> None:
    """Make the embedded data sets of a recipe that are missing, in the data folder of the run. Only rank 0 does it."""
    for kind in run.plan.datasets if run.runtime.main else ():
        if not (run.data_root / kind / "dataset.json").is_file():
            with progress(0, f"prepare {kind}") as bar:
                prepare(kind, run.data_root / kind, progress=bar.count)


def label(plan: Plan, folder: Path, runtime: Runtime, sample: int, options: Options) -> list[dict[str, Any]]:
    """Fill the label caches of a recipe and return one row for each.

    `sample` labels of each cache are compared with the teacher. Raises RunError when no stage asks for a cache, or when
    the stage that trains the teacher is not done in the folder.
    """
    run = Run.of_plan(plan, folder, runtime)
    stages = [stage for stage in run.stages.values() if stage.settings.labels]
    if not stages:
        raise RunError(f"{plan.name}: no stage asks for a label cache; add stages.<name>.labels (docs/labels.md)")
    with opened(run):
        check_trackers(options)
        teachers = Teachers(run)
        ensure_data(run, teachers)
        rows, folders = [], {}
        for stage in stages:
            for teacher in plan.teachers_of(stage.name).values():
                _take_trained(run, teacher.stage)
            cache, ask = filled_cache(stage, teachers.of(stage))
            sizes = {"views": cache.views, "labels": cache.views * cache.places, "bytes a label": cache.layout.size}
            difference = {"max |diff| of softmax": labels.verify(cache, ask(), sample)} if sample else {}
            rows.append({"stage": stage.name, "folder": str(cache.folder), **sizes, **difference})
            folders[stage.name] = cache.folder.name
        publish_labels(run, folders, options)
        return rows


def _take_trained(run: Run, name: str | None) -> None:
    """Take over the stage that trains a teacher from a run beside this one, where it is not done here.

    Raises RunError where no run has done it.
    """
    if name is None:
        return
    stage = run.stage(name)
    if not stage.is_done:
        start = stage.start
        if start is None or start.is_done:
            take_over(stage, "equal", KnownParts(), _adopt(Track(Jsonl(run.folder / METRICS)), name))
    if not stage.is_done:
        what = f"stage {name!r} trains the teacher and is not done"
        raise RunError(f"{run.folder}: {what}; `ssld run` trains it, and makes the cache itself")


def _adopt(log: Track, name: str) -> Carry:
    """Return what keeps in `log` the records of a stage whose result is taken over from another run."""
    return lambda folder, record: log.adopt(name, folder / METRICS, record.get("curve"))


def stage_result(stage: StageRun, teachers: Teachers, log: Track, trust: Trust, known: KnownParts) -> StageRecord:
    """Return the scores of a stage: of its finished result where that may be used, or else of a new training."""
    parts = take_over(stage, trust, known, _adopt(log, stage.name))
    if not stage.is_done:
        settings, run, folder = stage.settings, stage.run, stage.folder
        network, peers = make_network(stage), make_peers(stage)
        take_ends(stage, teachers, network, peers)
        start = weights_digest(network)
        train, val = loaders(stage)
        norm_images = in_int8(stage, network) if settings.quantize else ()
        job = Job(
            name=stage.name,
            stage=settings,
            folder=folder,
            seed=run.plan.seed,
            runtime=run.runtime,
            track=log,
            train=train,
            val=val,
            classes=run.plan.classes,
            labels=images_of(run, *settings.data.train).labels,
            norm_images=norm_images,
            helpers=stage.taken,
            digest=stage.digest,
        )
        labeller = labeller_of(stage, teachers.of(stage)) if settings.is_taught else None
        scores = run_stage(job, network, labeller, peers)
        if run.runtime.main:
            with disk_errors(folder):
                for name, peer in peers.items():
                    save_trained(peer, stage.file_of_peer(name), settings.data, stage.digest)
            made: StageMade = {
                "network": settings.network,
                "size": settings.data.crop,
                "ranks": run.runtime.world,
                "start": start,
                "made_of": json_digest(parts),
                "curve": log.curve(stage.name),
            }
            record = cast(StageRecord, {**made, **scores})
            if peers:
                record["peers"] = {
                    name: _record_of_peer(stage, name, of_peer) for name, of_peer in scores["peers"].items()
                }
            if terms := run.plan.handed_on(stage.name):
                record["helpers"] = hand_on(stage, terms)
            if labeller:
                record["teacher_engine"] = labeller.engine
            if isinstance(labeller, labels.CachedLogits):
                record["labels"] = labeller.cache.folder.name
            if settings.quantize:
                record["int8"] = noted(folder)
            write_json(folder / MADE_OF, parts)
            save_result(stage, network, record)
        barrier(run.runtime)
    return stage.record()


def hand_on(stage: StageRun, terms: Collection[str]) -> str:
    """Write the layers of these terms, as a stage ended with them, for later stages. Return the sha256 of the file."""
    ended = checkpoint.load(stage.folder)
    layers = {} if ended is None else ended.tensors.get("helpers", {})
    weights.save({key: layers[key] for key in layers if key.partition(".")[0] in terms}, stage.helpers_file)
    return sha256(stage.helpers_file)


def _record_of_peer(stage: StageRun, name: str, scores: Scores) -> PeerRecord:
    """Return what the record of a stage says of a peer whose weights are written."""
    return {**scores, "network": stage.settings.peers[name].title, "sha256": sha256(stage.file_of_peer(name))}
