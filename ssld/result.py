"""Measure what a finished run is worth: predictions, agreement, gated export and speed.

The result is the content of `result.json`, except for the facts of the training.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ssld import models, runtime
from ssld.config import baseline, cards, recipe
from ssld.config.delivery import Export
from ssld.config.keys import plain
from ssld.config.recipe import Data, Plan
from ssld.data import EvalLoader, ImageSource, sampler
from ssld.deploy import Allowed, How, calibrated, check_writable, export_model, needed, release, write_csv
from ssld.deploy import contract as contracts
from ssld.deploy.bench import bench
from ssld.deploy.engines.registry import ENGINES
from ssld.deploy.machine import SATURATES, sums_8_bits_exactly
from ssld.distill import metrics
from ssld.distill.checkpoint import disk_errors
from ssld.distill.evaluate import predict
from ssld.distill.images import centre_crops, class_names_of, content_of, crops, eval_loader
from ssld.distill.networks import build, trained_network, trained_peer
from ssld.distill.runs import Run, StageRecord, StageRun
from ssld.distill.teachers import SeveralTeachers, Teacher
from ssld.errors import DeployError, RecipeError, RunError
from ssld.files import check_content, sha256, whole
from ssld.progress import note, progress

BENCH, PICTURES = "bench.csv", "samples.npz"
OUTPUTS = (BENCH, PICTURES)  # files of a run folder whose sha256 its result names
SAMPLES = 64  # validation images whose predictions the report may show
WRONG = 4  # mistakes of each of the worst classes that it may show as well


def finish(run: Run, stages: dict[str, StageRecord], compared: Teacher | SeveralTeachers | None) -> dict[str, Any]:
    """Make the predictions of all networks on the validation images, the gated export and the bench.

    Returns everything but the report. `compared` is the teacher that the student learnt from, see `Plan.compared`. A
    recipe without formats has neither export nor bench. Where one of them fails that does not undo the training:
    `failures` of the result says why, and a line does too.
    """
    run = run.alone
    logits, labels = predictions(run, compared)
    scored = {kind: metrics.score(values, labels) for kind, values in logits.items()}
    scores = {kind: metrics.summary(score, run.plan.classes) for kind, score in scored.items()}
    result = describe(run, stages, scores, len(labels), compared)
    if run.last.settings.peers:
        result["peers"] = {name: describe_peer(run.last, name) for name in run.last.settings.peers}
    if "teacher" in logits:
        result["agreement"] = metrics.agreement(logits["student"], logits["teacher"], labels)
    if run.plan.test:
        add_test(run, run.plan.test, result, compared)
    mistakes = metrics.worst_images(scored["student"], result["worst"], WRONG)
    save_samples(run, logits, labels, mistakes)
    result |= {"export": {}, "bench": []}
    (run.folder / BENCH).unlink(missing_ok=True)
    again = f"`ssld export {run.folder}` repeats it, --gate KEY=VALUE changes thresholds"
    if run.plan.export.formats:
        with noting_failure(result, "export", again):
            result["export"] = release_student(run, run.folder / "export", result)
    result["student"]["bytes"] = next((file["bytes"] for file in result["export"].values()), None)
    if run.last.settings.quantize and not sums_8_bits_exactly():
        result["remarks"] = [SATURATES]
    if result["export"]:
        with noting_failure(result, "bench", f"`ssld bench {run.folder}` repeats it"):
            result["bench"] = measure(run)
    result["files"] = {name: sha256(run.folder / name) for name in OUTPUTS if (run.folder / name).is_file()}
    return result


@contextmanager
def noting_failure(result: dict[str, Any], what: str, advice: str) -> Iterator[None]:
    """Note in `failures` of a result why a part of what follows the training could not be made.

    The key is there only where something failed.
    """
    try:
        yield
    except DeployError as error:
        result.setdefault("failures", {})[what] = f"{error}; {advice}"


def check_outputs(run: Run, result: dict[str, Any]) -> None:
    """Check that the files of a finished run are those that its result and the contracts of its exports name.

    Results of early versions name no file, and a result with `failures` has no export or no bench. Raises RunError or
    DeployError, which name the first file that is missing, damaged or of another run, and RunError for other test
    images than those of the result.
    """
    if run.plan.test and result["test"]["content"] != content_of(run, run.plan.test):
        raise RunError(f"{run.data_root / run.plan.test}: has changed since the test; repeat the command")
    for name, digest in (result.get("files") or {}).items():
        check_content(run.folder / name, digest)
    for name, digest in _exports(run, result).items():
        contract = contracts.read_of(run.folder / name, digest)
        contracts.check_files(run.folder / name, contract, contract["files"])


def _exports(run: Run, result: dict[str, Any]) -> dict[str, str]:
    """Map the name of each folder of exported files in a run folder to the digest that its contract has."""
    exports = {"export": run.plan.digest} if result.get("export") else {}
    if result.get("bench"):
        exports |= {f"{name}_export": stage.digest for name, stage in _beside(run).items()}
    return exports


def _beside(run: Run) -> dict[str, StageRun]:
    """Return the stages whose networks are measured beside the student.

    They are that of the teacher, and that of the float network that a student in int8 was made from.
    """
    stages = {"teacher": _taught_by_stage(run), "float": run.last.start if run.last.settings.quantize else None}
    return {name: stage for name, stage in stages.items() if stage}


def release_student(run: Run, target: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Export the last stage's student into `target` through the gate.

    `result` has the accuracy that the contract states. The network that the files are compared with runs on the CPU, as
    they do, because a GPU's TF32 would hide small errors. Raises DeployError when a format differs from the network.
    """
    run = run.alone
    plan, last = run.plan, run.last
    options = plan.export
    images, labels = slice_images(last, slice_size(options))
    accuracy = {"top1": result["top1"], "top5": result["top5"], "images": result["images"]["val"], "source": "measured"}
    facts = {"class_names": class_names_of(run, last.settings.data.val) or None, "accuracy": accuracy}
    with progress(0, "export"), runtime.on_cpu():
        network = trained_network(last)  # made in here, so that it lies on the CPU
        return release(
            network,
            target,
            images,
            labels,
            name=network.arch,
            contract=contract(plan, network.arch, result["digest"], last.settings.data) | facts,
            formats=options.formats,
            how=how(options),
            calibration=calibration_images(last),
            allowed=allowed(options),
        )


def release_network(
    network: nn.Layer, target: Path, data: Data, images: ImageSource, options: Export, facts: dict[str, Any]
) -> dict[str, Any]:
    """Export any network into `target` through the gate, on an even selection of `images`.

    The images are shown to it as `data` says, and formats in int8 take their ranges from the same images. `facts` has
    the `name`, and what the contract says besides its input. Raises DeployError as `release_student` does.
    """
    single_process, way = runtime.Runtime(rank=0, world=1, gpu=None), how(options)

    def pictures(number: int) -> tuple[np.ndarray, np.ndarray]:
        selection = images.subset(sampler.evenly(number, len(images)))
        return all_images(centre_crops(data, selection, single_process))

    needs_ranges = calibrated(needed(options.formats, way))
    with progress(0, "export"), runtime.on_cpu():
        on_cpu = copy.deepcopy(network)
        on_cpu.to(device="cpu")
        gate_images, labels = pictures(slice_size(options))
        return release(
            on_cpu,
            target,
            gate_images,
            labels,
            name=facts["name"],
            contract={**facts, "input": plain(data.evaluated)},
            formats=options.formats,
            how=way,
            calibration=pictures(options.calibration_images)[0] if needs_ranges else None,
            allowed=allowed(options),
        )


def how(options: Export) -> How:
    """Return the options of the files that the recipe asks for."""
    return How(
        opset=options.opset,
        preprocess=options.preprocess,
        softmax=options.softmax,
        dynamic_batch=options.dynamic_batch,
        plan_precision=options.plan_precision,
    )


def allowed(options: Export) -> dict[str, Allowed]:
    """Return the thresholds of the gate for each precision."""
    return {
        "fp32": Allowed(options.gate_top1, options.gate_diff),
        "fp16": Allowed(options.gate_top1_fp16, options.gate_diff_fp16),
        "int8": Allowed(options.gate_top1_int8, options.gate_diff_int8),
    }


def slice_size(options: Export) -> int:
    """Return the number of images of the gate. It is larger where top-1 is compared in fractions of a point."""
    lossy = {"fp16", "int8", "paddle2_int8"} & set(needed(options.formats, how(options)))
    return max(options.gate_images, options.gate_images_lossy) if lossy else options.gate_images


def calibration_images(last: StageRun) -> np.ndarray | None:
    """Return normalised training images float32 [n, 3, S, S] of the last stage, an even selection.

    Returns None where no format needs them, and where the student was trained in int8 and has its ranges.
    """
    export = last.plan.export
    if last.settings.quantize or not calibrated(needed(export.formats, how(export))):
        return None
    return np.concatenate(crops(last, export.calibration_images))


def contract(plan: Plan, arch: str, digest: str, data: Data) -> dict[str, Any]:
    """Return what an exported network must be fed, and the run that it comes from."""
    return {
        "arch": arch,
        "classes": plan.classes,
        "digest": digest,
        "recipe": plan.name,
        "input": plain(data.evaluated),
    }


def describe(
    run: Run,
    stages: dict[str, StageRecord],
    scores: dict[str, metrics.Summary],
    images: int,
    compared: Teacher | SeveralTeachers | None,
) -> dict[str, Any]:
    """Return the result without its measurements of speed.

    `scores` has `metrics.summary` of `student`, and of `teacher` and `baseline` where they were measured, on the
    `images` validation images of the run. Published numbers are used only where those images are ImageNet's
    (`baseline.other_set`). Without a baseline `baseline_missing` says why.
    """
    plan, root = run.plan, run.data_root
    size, score = run.last.settings.data.crop, scores["student"]
    student = build(plan, "student", size)
    params, macs = models.count(student, size)
    imagenet = baseline.other_set(plan, root) is None
    result: dict[str, Any] = {
        "recipe": plan.name,
        "title": plan.title,
        "digest": plan.digest,
        "group": plan.group,
        "scope": plan.scope,
        "complete": True,
        "seed": plan.seed,
        "claim": plan.claim,
        "student": {
            "arch": plan.student.card_arch or student.arch,
            "params": params,
            "macs": macs,
            "size": size,
            "training": baseline.training(plan),
        },
        "teacher": None,
        "baseline": None,
        "baseline_missing": baseline.missing(plan, root),
        "stages": stages,
        "top1": score["top1"],
        "top5": score["top5"],
        "nll": score["nll"],
        "ece": score["ece"],
        "gain": None,
        "images": {"val": images, "imagenet": imagenet},
        "versions": runtime.versions(),
        "hardware": runtime.hardware(),
        "plan": recipe.plan_tree(plan),
        "reliability": score["reliability"],
        "per_class": score["per_class"],
        "worst": score["worst"],
    }
    if plan.compared and compared:
        result["teacher"] = describe_teacher(run, stages, compared, scores.get("teacher"), imagenet)
    if plan.baseline:
        result["baseline"] = {"top1": stages[plan.baseline]["top1"], "source": "measured"}
    elif result["baseline_missing"] is None:
        published = cards.find_student(str(plan.student.arch)).published["plain"]
        result["baseline"] = {"top1": published.top1, "source": published.source}
    if result["baseline"]:
        result["gain"] = result["top1"] - result["baseline"]["top1"]
    for kind in scores.keys() - {"student"}:
        if result[kind]["source"] == "measured":  # a published top-1 has no measured numbers beside it
            measured = scores[kind]
            result[kind] |= {"top5": measured["top5"], "nll": measured["nll"], "ece": measured["ece"]}
    return result


def describe_teacher(
    run: Run,
    stages: dict[str, StageRecord],
    compared: Teacher | SeveralTeachers,
    scores: metrics.Summary | None,
    imagenet: bool,
) -> dict[str, Any]:
    """Return the costs and the accuracy of the teacher, or of several combined.

    The top-1 of a card is published for ImageNet's validation images. Where the run has other images, and for teachers
    that no card describes, `top1` comes from `scores` (`metrics.summary` on those images), or is None where this run
    has not asked the teacher.
    """
    plan = run.plan
    names = list(plan.teachers_of(str(plan.compared)))
    block = plan.all_teachers[names[0]] if len(names) == 1 else None
    top1 = scores and scores["top1"]
    if block and block.stage:
        top1 = stages[block.stage]["top1"]
    if block is None or block.card is None:
        return {**compared.facts(), "top1": top1, "source": "measured"}
    card = cards.find_teacher(block.card)
    facts = {"arch": card.arch, "norm": block.norm, "card": block.card, "params": card.params, "macs": card.macs}
    if imagenet:
        return facts | {"top1": card.top1, "source": card.source}
    return facts | {"top1": top1, "source": "measured"}


def describe_peer(last: StageRun, name: str) -> dict[str, Any]:
    """Return the costs and the scores of a network that the last stage trained beside the student."""
    network, size = trained_peer(last, name), last.settings.data.crop
    params, macs = models.count(network, size)
    score = metrics.summary(metrics.score(*predict(network, eval_loader(last))), last.plan.classes)
    measured = {key: score[key] for key in ("top1", "top5", "nll", "ece")}
    return {"arch": network.arch, "params": params, "macs": macs, "size": size, **measured}


def add_test(run: Run, test: str, result: dict[str, Any], compared: Teacher | SeveralTeachers | None) -> None:
    """Add to a result what its networks reach on the test images, which nothing before has looked at.

    `test_top1` is the student's, those of teacher and baseline stand in their blocks, and `test_gain` is measured
    against that of the baseline. `test` says which images they are.
    """
    logits, labels = predictions(run, compared, test)
    top1 = {kind: metrics.summary(metrics.score(of, labels), run.plan.classes)["top1"] for kind, of in logits.items()}
    result["test"] = {"list": test, "images": len(labels), "content": content_of(run, test)}
    result["test_top1"] = top1["student"]
    for kind in top1.keys() - {"student"}:
        result[kind]["test_top1"] = top1[kind]
    if "baseline" in top1:
        result["test_gain"] = top1["student"] - top1["baseline"]


def predictions(
    run: Run, compared: Teacher | SeveralTeachers | None, listed: str | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return logits [n, classes] by network for the validation images, or for those of another list, and the labels.

    The networks are the student, the baseline with the geometry of its own stage, and the teacher that the student is
    `compared` with, to which the images are shown as it expects them.
    """

    def data(stage: StageRun) -> Data:
        return replace(stage.settings.data, val=listed) if listed else stage.settings.data

    stages = {"student": run.last}
    if run.plan.baseline:
        stages["baseline"] = run.stage(run.plan.baseline)
    logits, labels = {}, np.empty(0, "int64")
    for kind, stage in stages.items():
        logits[kind], labels = predict(trained_network(stage), eval_loader(stage, data=data(stage)))
    if compared:
        logits["teacher"] = compared.predict(run.last, data(run.last))[0]
    return {kind: logits[kind] for kind in ("student", "teacher", "baseline") if kind in logits}, labels


def slice_images(last: StageRun, take: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return validation images float32 [n, 3, S, S] as the exported network takes them, and labels int64 [n].

    `take` is that of `eval_loader`.
    """
    return all_images(eval_loader(last, take))


def all_images(loader: EvalLoader) -> tuple[np.ndarray, np.ndarray]:
    """Return the images float32 [n, 3, S, S] and labels int64 [n] of a loader, in order."""
    batches = [(batch["image"].numpy().copy(), batch["label"].numpy()) for batch in loader.batches()]
    return np.concatenate([image for image, _ in batches]), np.concatenate([label for _, label in batches])


def save_samples(run: Run, logits: dict[str, np.ndarray], labels: np.ndarray, mistakes: np.ndarray) -> None:
    """Write samples.npz: some validation images with every network's probabilities.

    They are SAMPLES images, those on which the networks disagree first, and then the images at the positions `mistakes`
    that are not among them.
    """
    classes = np.stack([labels, *(values.argmax(1) for values in logits.values())])
    split = (classes != classes[0]).any(0)
    positions = np.concatenate([np.flatnonzero(split), np.flatnonzero(~split)])[:SAMPLES]
    positions = np.concatenate([positions, np.setdiff1d(mistakes, positions)])
    images, sample_labels = slice_images(run.last, positions)
    data = run.last.settings.data
    pixels = (images.transpose(0, 2, 3, 1) * np.array(data.std) + np.array(data.mean)) * 255
    names = class_names_of(run, data.val) or [str(number) for number in range(run.plan.classes)]
    arrays = {name: metrics.softmax(values[positions]).astype("float32") for name, values in logits.items()}
    file = run.folder / PICTURES
    with disk_errors(file), whole(file) as partial, open(partial, "wb") as stream:
        np.savez_compressed(
            stream,
            image=pixels.round().clip(0, 255).astype("uint8"),
            label=sample_labels,
            classes=np.array(names),
            **arrays,
        )


def check_export(plan: Plan) -> None:
    """Check, before the first step, that this machine can write every format. Raises DeployError otherwise."""
    if plan.export.formats:
        check_writable(plan.export.formats, how(plan.export), in_int8=plan.stages[plan.last].quantize is not None)


def check_bench(plan: Plan) -> None:
    """Check, before the first step, that an engine of `bench` reads one of the files that are exported.

    Raises RecipeError where none does.
    """
    engines, precisions = plan.bench.engines, plan.timed_precisions
    readable = {ENGINES.build(engine).reads.get(precision) for engine in engines for precision in precisions}
    released = {*plan.export.formats, *(("paddle2",) if "paddlelite" in plan.export.formats else ())}
    if released and not readable & released:
        what = f"none of {', '.join(engines)} reads {' or '.join(plan.export.formats)} in {' or '.join(precisions)}"
        formats = " or ".join(sorted(filter(None, readable)))
        advice = f"add {formats} to export.formats, or name other engines" if formats else "name other engines"
        raise RecipeError(f"{plan.name}: bench.engines: {what}; {advice}")


def measure(run: Run) -> list[dict[str, Any]]:
    """Measure the latency of the exported networks in every engine that is usable here.

    The networks are the student, the teacher that this recipe trained, and the float network that a student in int8 was
    made from. A smoke run takes only the first usable engine, because a large network takes longer in each than in the
    training.
    """
    plan = run.plan
    networks = {"student": run.folder / "export"}
    for label, stage in _beside(run).items():
        network = trained_network(stage)
        contract_of_network = contract(plan, network.arch, stage.digest, stage.settings.data)
        networks[label] = run.folder / f"{label}_export"
        export_model(
            network, networks[label], name=network.arch, how=How(plan.export.opset), contract=contract_of_network
        )
    options, usable_engines = plan.bench, list[str]()
    bench_options: dict[str, Any] = {"precisions": plan.timed_precisions, "batch_sizes": options.batch_sizes}
    reasons = []
    with progress(0, "bench"):
        for engine in options.engines:
            if usable_engines and run.is_smoke:
                break
            try:
                bench(networks, engines=[engine], **bench_options, warmup=1, repeats=1)
                usable_engines.append(engine)
            except DeployError as error:
                reasons.append(str(error))
                note(f"bench: {engine} is left out: {error}")
        if not usable_engines:
            raise DeployError(f"bench: no engine of bench.engines measures this run; {'; '.join(reasons)}")
        rows = bench(
            networks,
            engines=usable_engines,
            **bench_options,
            threads=[options.threads],
            warmup=options.warmup,
            repeats=options.repeats,
            seconds=options.seconds,
        )
    write_csv(rows, run.folder / BENCH)
    return [asdict(row) for row in rows]


def _taught_by_stage(run: Run) -> StageRun | None:
    """Return the stage that trained the only teacher that the student is compared with, or None where no stage did."""
    teachers = list(run.plan.teachers_of(run.plan.compared).values()) if run.plan.compared else []
    return run.stage(teachers[0].stage) if len(teachers) == 1 and teachers[0].stage else None
