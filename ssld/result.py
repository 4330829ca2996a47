"""What a finished run is worth: predictions, agreement, gated export, speed; `result.json` but for the training."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ssld import models, runtime
from ssld.config import cards, recipe
from ssld.config.recipe import Data, Plan
from ssld.deploy import bench, export_model, release, write_csv
from ssld.distill.checkpoint import disk_errors
from ssld.distill.evaluate import agreement, log_softmax, predict, scores
from ssld.distill.setup import build, eval_loader, teacher_card, trained_network
from ssld.errors import DeployError
from ssld.progress import note, progress
from ssld.runtime import Runtime

SAMPLES = 64  # validation images whose predictions the report may show


def finish(plan: Plan, out: Path, root: Path, stages: dict[str, Any], here: Runtime) -> dict[str, Any]:
    """Predictions of all networks on the validation images, the gated export, the bench: everything but the report."""
    alone = Runtime(rank=0, world=1, gpu=here.gpu)
    logits, labels = predictions(plan, out, root, alone)
    result = describe(plan, stages, scores(logits["student"], labels))
    if "teacher" in logits:
        result["agreement"] = agreement(logits["student"], logits["teacher"], labels)
    save_samples(plan, out, root, alone, logits, labels)
    result["export"] = release_student(plan, out, root, alone, out / "export", plan.export.formats, plan.export.opset)
    result["student"]["bytes"] = next(iter(result["export"].values()))["bytes"]
    result["bench"] = measure(plan, out)
    return result


def release_student(
    plan: Plan, out: Path, root: Path, alone: Runtime, target: Path, formats: Sequence[str], opset: int
) -> dict[str, Any]:
    """Export the last stage's student into `target` through the gate; DeployError when a format differs from it.

    The network that the files are compared with runs on the CPU, as they do: a GPU's TF32 would hide small errors.
    """
    images, labels = slice_images(plan, root, alone, plan.export.gate_images)
    with progress(0, "export"), runtime.on_cpu():
        return release(
            trained_network(plan, list(plan.stages)[-1], out),
            target,
            images,
            labels,
            name=plan.student.arch,
            formats=formats,
            opset=opset,
            contract=contract(plan, plan.student.arch, plan.digest, list(plan.stages.values())[-1].data),
            max_abs_diff=plan.export.gate_diff,
        )


def contract(plan: Plan, arch: str, digest: str, data: Data) -> dict[str, Any]:
    """What an exported network must be fed, and which run it is from."""
    given = {"size": data.crop, "resize": data.resize, "mean": list(data.mean), "std": list(data.std)}
    return {"arch": arch, "classes": plan.classes, "digest": digest, "recipe": plan.name, "input": given}


def describe(plan: Plan, stages: dict[str, Any], sums: np.ndarray) -> dict[str, Any]:
    """The result without its measurements of speed."""
    last = plan.stages[list(plan.stages)[-1]]
    count, top1, top5, _ = sums
    student = build(plan, "student", last.data.crop)
    params, macs = models.count(student, last.data.crop)
    result: dict[str, Any] = {
        "recipe": plan.name,
        "title": plan.title,
        "digest": plan.digest,
        "group": plan.group,
        "scope": plan.scope,
        "complete": True,
        "seed": plan.seed,
        "claim": plan.claim,
        "student": {"arch": plan.student.arch, "params": params, "macs": macs, "size": last.data.crop},
        "teacher": None,
        "baseline": None,
        "stages": stages,
        "top1": 100 * top1 / count,
        "top5": 100 * top5 / count,
        "gain": None,
        "images": {"val": int(count)},
        "versions": runtime.versions(),
        "hardware": runtime.hardware(),
        "plan": recipe.plan_tree(plan),
    }
    if plan.teacher:
        result["teacher"] = describe_teacher(plan, stages)
    if plan.baseline:
        result["baseline"] = {"top1": stages[plan.baseline]["top1"], "source": "measured"}
    elif plan.scope == "full" and (published := cards.find_student(plan.student.arch).published.get("plain")):
        result["baseline"] = {"top1": published.top1, "source": published.source}
    if result["baseline"]:
        result["gain"] = result["top1"] - result["baseline"]["top1"]
    return result


def describe_teacher(plan: Plan, stages: dict[str, Any]) -> dict[str, Any]:
    teacher = plan.teacher
    assert teacher is not None
    about: dict[str, Any] = {"arch": teacher.arch or teacher_card(plan).arch, "norm": teacher.norm}
    if teacher.stage:
        size = plan.stages[teacher.stage].data.crop
        params, macs = models.count(build(plan, "teacher", size), size)
        return about | {"params": params, "macs": macs, "top1": stages[teacher.stage]["top1"], "source": "measured"}
    card = teacher_card(plan)
    return about | {
        "card": teacher.card,
        "params": card.params,
        "macs": card.macs,
        "top1": card.top1,
        "source": card.source,
    }


def predictions(plan: Plan, out: Path, root: Path, alone: Runtime) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Validation logits [n, classes] of the student, and of the teacher and the baseline if this recipe trained them
    (each with the geometry of its own stage), and the labels [n]."""
    wanted = {
        "student": list(plan.stages)[-1],
        "teacher": plan.teacher and plan.teacher.stage,
        "baseline": plan.baseline,
    }
    logits, labels = {}, np.empty(0, "int64")
    for kind, stage in wanted.items():
        if stage:
            loader = eval_loader(plan, plan.stages[stage], root, alone)
            logits[kind], labels = predict(trained_network(plan, stage, out), loader)
    return logits, labels


def slice_images(plan: Plan, root: Path, alone: Runtime, take: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validation images float32 [n, 3, S, S] as the exported network takes them, and labels int64 [n].

    `take` as in `eval_loader`.
    """
    loader = eval_loader(plan, list(plan.stages.values())[-1], root, alone, take)
    batches = [(batch["image"].numpy().copy(), batch["label"].numpy()) for batch in loader.batches()]
    return np.concatenate([image for image, _ in batches]), np.concatenate([label for _, label in batches])


def save_samples(
    plan: Plan, out: Path, root: Path, alone: Runtime, logits: dict[str, np.ndarray], labels: np.ndarray
) -> None:
    """samples.npz: validation images, where the networks disagree first, with every network's probabilities."""
    said = np.stack([labels, *(values.argmax(1) for values in logits.values())])
    split = (said != said[0]).any(0)
    chosen = np.concatenate([np.flatnonzero(split), np.flatnonzero(~split)])[:SAMPLES]
    images, shown = slice_images(plan, root, alone, chosen)
    data = list(plan.stages.values())[-1].data
    pixels = (images.transpose(0, 2, 3, 1) * np.array(data.std) + np.array(data.mean)) * 255
    arrays = {name: np.exp(log_softmax(values[chosen])).astype("float32") for name, values in logits.items()}
    with disk_errors(out / "samples.npz"):
        np.savez_compressed(
            out / "samples.npz",
            image=pixels.round().clip(0, 255).astype("uint8"),
            label=shown,
            classes=class_names(plan, root),
            **arrays,
        )


def class_names(plan: Plan, root: Path) -> np.ndarray:
    """Names from the `classes.txt` beside the validation list, else the numbers."""
    file = (root / list(plan.stages.values())[-1].data.val).parent / "classes.txt"
    names = file.read_text(encoding="utf-8").split("\n")[: plan.classes] if file.is_file() else []
    return np.array(names if len(names) == plan.classes else [str(c) for c in range(plan.classes)])


def measure(plan: Plan, out: Path) -> list[dict[str, Any]]:
    """Latency of the exported student, and of the teacher that this recipe trained, in every engine usable here."""
    networks = {"student": out / "export"}
    if plan.teacher and plan.teacher.stage:
        teacher = trained_network(plan, plan.teacher.stage, out)
        data = plan.stages[plan.teacher.stage].data
        about = contract(plan, teacher.arch, plan.stage_digest(plan.teacher.stage), data)
        export_model(teacher, out / "teacher_export", name=teacher.arch, opset=plan.export.opset, contract=about)
        networks["teacher"] = out / "teacher_export"
    options, able = plan.bench, []
    with progress(0, "bench"):
        for engine in options.engines:
            try:
                bench(networks, engines=[engine], batch_sizes=options.batch_sizes, warmup=1, repeats=1)
                able.append(engine)
            except DeployError as error:
                note(f"bench: {engine} is left out: {error}")
        if not able:
            raise DeployError(f"bench: none of {', '.join(options.engines)} runs here; install ssld[engines]")
        rows = bench(
            networks,
            engines=able,
            batch_sizes=options.batch_sizes,
            threads=options.threads,
            warmup=options.warmup,
            repeats=options.repeats,
            seconds=options.seconds,
        )
    write_csv(rows, out / "bench.csv")
    return [asdict(row) for row in rows]
