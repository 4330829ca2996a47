"""What a finished run is worth: predictions, agreement, gated export, speed; `result.json` but for the training."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ssld import models, runtime
from ssld.config import baseline, cards, recipe
from ssld.config.delivery import Export
from ssld.config.recipe import Data, Plan
from ssld.data import EvalLoader, class_names
from ssld.deploy import Allowed, How, bench, calibrated, export_model, needed, release, write_csv
from ssld.distill import metrics
from ssld.distill.checkpoint import disk_errors
from ssld.distill.evaluate import predict
from ssld.distill.setup import (
    Teacher,
    build,
    crops,
    eval_loader,
    teacher_card,
    teacher_loader,
    trained_network,
)
from ssld.errors import DeployError
from ssld.progress import note, progress
from ssld.runtime import Runtime

SAMPLES = 64  # validation images whose predictions the report may show
WRONG = 4  # and so many mistakes of each of the worst classes


def finish(
    plan: Plan, out: Path, root: Path, stages: dict[str, Any], teacher: Teacher | None, here: Runtime
) -> dict[str, Any]:
    """Predictions of all networks on the validation images, the gated export, the bench: everything but the report.

    `teacher`: what the stages learnt from, where it is from a card.
    """
    alone = Runtime(rank=0, world=1, gpu=here.gpu)
    logits, labels = predictions(plan, out, root, teacher, alone)
    scored = {kind: metrics.score(values, labels) for kind, values in logits.items()}
    scores = {kind: metrics.summary(found, plan.classes) for kind, found in scored.items()}
    result = describe(plan, stages, scores, len(labels), root)
    if "teacher" in logits:
        result["agreement"] = metrics.agreement(logits["student"], logits["teacher"], labels)
    wrong = metrics.worst_images(scored["student"], result["worst"], WRONG)
    save_samples(plan, out, root, alone, logits, labels, wrong)
    result["export"] = release_student(plan, out, root, alone, out / "export", result)
    result["student"]["bytes"] = next(iter(result["export"].values()))["bytes"]
    result["bench"] = measure(plan, out)
    return result


def release_student(
    plan: Plan, out: Path, root: Path, alone: Runtime, target: Path, result: dict[str, Any]
) -> dict[str, Any]:
    """Export the last stage's student into `target` through the gate; DeployError when a format differs from it.

    `result` has the accuracy that the contract states. The network that the files are compared with runs on the CPU, as
    they do: a GPU's TF32 would hide small errors.
    """
    options, last = plan.export, list(plan.stages.values())[-1]
    images, labels = slice_images(plan, root, alone, slice_size(options))
    accuracy = {"top1": result["top1"], "top5": result["top5"], "images": result["images"]["val"], "source": "measured"}
    about = contract(plan, plan.student.arch, plan.digest, last.data)
    about |= {"class_names": class_names(root / last.data.val, plan.classes) or None, "accuracy": accuracy}
    with progress(0, "export"), runtime.on_cpu():
        return release(
            trained_network(plan, list(plan.stages)[-1], out),
            target,
            images,
            labels,
            name=plan.student.arch,
            contract=about,
            formats=options.formats,
            how=how(options),
            calibration=calibration_images(plan, root, alone),
            allowed=allowed(options),
        )


def how(options: Export) -> How:
    """What the recipe wants in the files."""
    return How(
        opset=options.opset,
        preprocess=options.preprocess,
        softmax=options.softmax,
        dynamic_batch=options.dynamic_batch,
        plan_precision=options.plan_precision,
    )


def allowed(options: Export) -> dict[str, Allowed]:
    """The thresholds of the gate for each precision."""
    return {
        "fp32": Allowed(options.gate_top1, options.gate_diff),
        "fp16": Allowed(options.gate_top1_fp16, options.gate_diff_fp16),
        "int8": Allowed(options.gate_top1_int8, options.gate_diff_int8),
    }


def slice_size(options: Export) -> int:
    """Images of the gate: more where top-1 is compared in fractions of a point."""
    lossy = {"fp16", "int8", "paddle2_int8"} & set(needed(options.formats, how(options)))
    return max(options.gate_images, options.gate_images_lossy) if lossy else options.gate_images


def calibration_images(plan: Plan, root: Path, alone: Runtime) -> np.ndarray | None:
    """Normalised training images float32 [n, 3, S, S] of the last stage, an even selection; None where no format needs
    them, or the student was trained in int8 and has its ranges."""
    last = list(plan.stages)[-1]
    if plan.stages[last].quantize or not calibrated(needed(plan.export.formats, how(plan.export))):
        return None
    return np.concatenate(crops(plan, last, plan.export.calibration_images, root, alone))


def contract(plan: Plan, arch: str, digest: str, data: Data) -> dict[str, Any]:
    """What an exported network must be fed, and which run it is from."""
    given = {"size": data.crop, "resize": data.resize, "mean": list(data.mean), "std": list(data.std)}
    given |= {"interpolation": data.interpolation, "background": list(data.background)}
    return {"arch": arch, "classes": plan.classes, "digest": digest, "recipe": plan.name, "input": given}


def describe(
    plan: Plan, stages: dict[str, Any], scores: dict[str, dict[str, Any]], images: int, root: Path
) -> dict[str, Any]:
    """The result without its measurements of speed.

    `scores`: `metrics.summary` of `student`, and of `teacher` and `baseline` where they were measured, on the run's
    validation images; `images`: their number. `root`: the folder that the lists are relative to. Published numbers
    enter only where those images are ImageNet's (`baseline.other_set`); without a baseline `baseline_missing` says why.
    """
    last, found = plan.stages[list(plan.stages)[-1]], scores["student"]
    student = build(plan, "student", last.data.crop)
    params, macs = models.count(student, last.data.crop)
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
            "arch": plan.student.arch,
            "params": params,
            "macs": macs,
            "size": last.data.crop,
            "training": baseline.training(plan),
        },
        "teacher": None,
        "baseline": None,
        "baseline_missing": baseline.missing(plan, root),
        "stages": stages,
        "top1": found["top1"],
        "top5": found["top5"],
        "nll": found["nll"],
        "ece": found["ece"],
        "gain": None,
        "images": {"val": images, "imagenet": imagenet},
        "versions": runtime.versions(),
        "hardware": runtime.hardware(),
        "plan": recipe.plan_tree(plan),
        "reliability": found["reliability"],
        "per_class": found["per_class"],
        "worst": found["worst"],
    }
    if plan.compared:
        result["teacher"] = describe_teacher(plan, stages, scores.get("teacher"), imagenet)
    if plan.baseline:
        result["baseline"] = {"top1": stages[plan.baseline]["top1"], "source": "measured"}
    elif result["baseline_missing"] is None:
        published = cards.find_student(plan.student.arch).published["plain"]
        result["baseline"] = {"top1": published.top1, "source": published.source}
    if result["baseline"]:
        result["gain"] = result["top1"] - result["baseline"]["top1"]
    for kind in scores.keys() - {"student"}:
        if result[kind]["source"] == "measured":  # beside a published top-1 stand no numbers that were measured
            result[kind] |= {key: scores[kind][key] for key in ("top5", "nll", "ece")}
    return result


def describe_teacher(
    plan: Plan, stages: dict[str, Any], measured: dict[str, Any] | None, imagenet: bool
) -> dict[str, Any]:
    """Costs and accuracy of the teacher.

    The top-1 of a card is published for ImageNet's validation images. Where the run's images are others, `top1` is what
    was `measured` on those (`metrics.summary`), or None where this run has not asked the teacher.
    """
    teacher = plan.teacher
    assert teacher is not None
    about: dict[str, Any] = {"arch": teacher.arch or teacher_card(plan).arch, "norm": teacher.norm}
    if teacher.stage:
        size = plan.stages[teacher.stage].data.crop
        params, macs = models.count(build(plan, "teacher", size), size)
        return about | {"params": params, "macs": macs, "top1": stages[teacher.stage]["top1"], "source": "measured"}
    card = teacher_card(plan)
    about |= {"card": teacher.card, "params": card.params, "macs": card.macs}
    if imagenet:
        return about | {"top1": card.top1, "source": card.source}
    return about | {"top1": measured and measured["top1"], "source": "measured"}


def predictions(
    plan: Plan, out: Path, root: Path, teacher: Teacher | None, alone: Runtime
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Validation logits [n, classes] of the student, and of the teacher and the baseline if this recipe trained them
    (each with the geometry of its own stage) or the teacher is from a card (with its own), and the labels [n]."""
    own = plan.compared and plan.compared.stage
    wanted = {"student": list(plan.stages)[-1], "teacher": own, "baseline": plan.baseline}
    logits, labels = {}, np.empty(0, "int64")
    for kind, stage in wanted.items():
        if stage:
            loader = eval_loader(plan, plan.stages[stage], root, alone)
            logits[kind], labels = predict(trained_network(plan, stage, out), loader)
    if plan.compared and plan.compared.card and teacher:
        loader = teacher_loader(plan, list(plan.stages.values())[-1], root, alone)
        logits["teacher"] = predict(teacher.network, loader)[0]
    return logits, labels


def slice_images(plan: Plan, root: Path, alone: Runtime, take: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validation images float32 [n, 3, S, S] as the exported network takes them, and labels int64 [n].

    `take` as in `eval_loader`.
    """
    return all_images(eval_loader(plan, list(plan.stages.values())[-1], root, alone, take))


def all_images(loader: EvalLoader) -> tuple[np.ndarray, np.ndarray]:
    """The images float32 [n, 3, S, S] and labels int64 [n] of a loader, in order."""
    batches = [(batch["image"].numpy().copy(), batch["label"].numpy()) for batch in loader.batches()]
    return np.concatenate([image for image, _ in batches]), np.concatenate([label for _, label in batches])


def save_samples(
    plan: Plan,
    out: Path,
    root: Path,
    alone: Runtime,
    logits: dict[str, np.ndarray],
    labels: np.ndarray,
    wrong: np.ndarray,
) -> None:
    """samples.npz: SAMPLES validation images, where the networks disagree first, then those of `wrong` (positions) that
    are not among them, with every network's probabilities."""
    said = np.stack([labels, *(values.argmax(1) for values in logits.values())])
    split = (said != said[0]).any(0)
    chosen = np.concatenate([np.flatnonzero(split), np.flatnonzero(~split)])[:SAMPLES]
    chosen = np.concatenate([chosen, np.setdiff1d(wrong, chosen)])
    images, shown = slice_images(plan, root, alone, chosen)
    data = list(plan.stages.values())[-1].data
    pixels = (images.transpose(0, 2, 3, 1) * np.array(data.std) + np.array(data.mean)) * 255
    names = class_names(root / data.val, plan.classes) or [str(number) for number in range(plan.classes)]
    arrays = {name: metrics.softmax(values[chosen]).astype("float32") for name, values in logits.items()}
    with disk_errors(out / "samples.npz"):
        np.savez_compressed(
            out / "samples.npz",
            image=pixels.round().clip(0, 255).astype("uint8"),
            label=shown,
            classes=np.array(names),
            **arrays,
        )


def measure(plan: Plan, out: Path) -> list[dict[str, Any]]:
    """Latency of the exported student, of the teacher that this recipe trained, and of the float network that a student
    in int8 was made from, in every engine usable here.

    A smoke run takes the first of them: of a large network each takes longer than the training.
    """
    networks, last = {"student": out / "export"}, list(plan.stages.values())[-1]
    others = {"teacher": plan.compared and plan.compared.stage, "float": last.init if last.quantize else None}
    for label, stage in others.items():
        if stage:
            network = trained_network(plan, stage, out)
            about = contract(plan, network.arch, plan.stage_digest(stage), plan.stages[stage].data)
            networks[label] = out / f"{label}_export"
            export_model(network, networks[label], name=network.arch, how=How(plan.export.opset), contract=about)
    options, able = plan.bench, list[str]()
    precisions = [*dict.fromkeys([*(["int8"] if last.quantize else []), *options.precisions])]
    asked: dict[str, Any] = {"precisions": precisions, "batch_sizes": options.batch_sizes}
    with progress(0, "bench"):
        for engine in options.engines:
            if able and plan.scope == "smoke":
                break
            try:
                bench(networks, engines=[engine], **asked, warmup=1, repeats=1)
                able.append(engine)
            except DeployError as error:
                note(f"bench: {engine} is left out: {error}")
        if not able:
            raise DeployError(f"bench: none of {', '.join(options.engines)} runs here; install ssld[engines]")
        rows = bench(
            networks, engines=able, **asked, threads=[options.threads], warmup=options.warmup, repeats=options.repeats,
            seconds=options.seconds,
        )  # fmt: skip
    write_csv(rows, out / "bench.csv")
    return [asdict(row) for row in rows]
