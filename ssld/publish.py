"""What trackers are told of a run beside its curves: what it is, its numbers, and where its files come from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ssld.config import recipe
from ssld.config.recipe import Plan
from ssld.distill.labelling import caches
from ssld.distill.scorer import teacher_weights, weights_digest
from ssld.distill.setup import stage_folder, teacher_card
from ssld.errors import RunError
from ssld.files import sha256
from ssld.progress import note
from ssld.report.summary import summary
from ssld.runtime import Runtime
from ssld.track import About, Artifact, Options, Track, start


def start_track(plan: Plan, out: Path, here: Runtime, options: Options) -> Track:
    """The track of a run; of the ranks above 0 one that records nothing."""
    return start(out, about(plan), options if here.main else replace(options, wandb="silent"))


def about(plan: Plan) -> About:
    """Group: the recipe with its overrides, over all seeds."""
    teacher = plan.teacher.card or plan.teacher.arch if plan.teacher else None
    return About(
        name=f"{plan.name}-{plan.digest[:8]}",
        run_id=plan.digest[:16],
        group=f"{plan.name}-{plan.group[:8]}",
        tags=tuple(filter(None, (plan.scope, plan.student.arch, teacher))),
        config=recipe.plan_tree(plan),
    )


def publish(plan: Plan, out: Path, result: dict[str, Any], log: Track) -> None:
    """A finished run's numbers, sample predictions, and the line from its teacher to its exported files."""
    if log.loggers:
        reason = result.get("baseline_missing")  # in words, beside numbers of which the gain is not there
        log.summary(summary(result) | ({"baseline_missing": reason} if reason else {}))
        log.samples(out / "samples.npz")
        for item in lineage(plan, out, result):
            log.artifact(item)


def lineage(plan: Plan, out: Path, result: dict[str, Any]) -> list[Artifact]:
    """teacher -> label caches -> student -> export; each names by digest what it was made from."""
    last = list(plan.stages)[-1]
    teacher = teacher_artifact(plan, out, result["teacher"] or {})
    made_from = {item.name: item.digest for item in teacher}
    cached = [
        cache_artifact(plan, name, out, stage["labels"], made_from)
        for name, stage in result["stages"].items()
        if "labels" in stage
    ]
    found = {item.name: item for item in [*teacher, *cached]}  # stages may share a cache
    student = Artifact(
        name=f"{plan.name}-student-{plan.student.arch}",
        kind="model",
        files=(stage_folder(plan, last, out) / "model.safetensors",),
        digest=plan.stage_digest(last),
        made_from={item.name: item.digest for item in found.values()},
        metadata={key: result.get(key) for key in ("top1", "gain", "baseline_missing")} | {"run": plan.digest},
    )
    export = Artifact(
        name=f"{plan.name}-{plan.student.arch}",
        kind="model",
        files=tuple(sorted((out / "export").iterdir())),
        digest=plan.digest,
        made_from={student.name: student.digest},
        metadata={"top1": result["top1"], "formats": list(plan.export.formats)},
    )
    return [*found.values(), student, export]


def publish_labels(plan: Plan, out: Path, cached: dict[str, str], options: Options) -> None:
    """`ssld label` as a run of its own: the teacher goes in, the caches come out. `cached`: stage -> cache folder."""
    this = about(plan)
    this = replace(this, name=f"{this.name}-labels", run_id=f"labels-{this.run_id}", job="label")
    teacher = [replace(item, used=True) for item in teacher_artifact(plan, out, {})]
    made_from = {item.name: item.digest for item in teacher}
    made = [cache_artifact(plan, name, out, folder, made_from) for name, folder in cached.items()]
    with start(out, this, options) as log:
        for item in [*teacher, *(replace(item, used=False) for item in made)]:
            log.artifact(item)


def teacher_artifact(plan: Plan, out: Path, facts: dict[str, Any]) -> list[Artifact]:
    """The teacher's weights: what a stage of this run made, or a card's file, which stays where it lies. [] without.

    `facts`: what the result says of it.
    """
    teacher = plan.teacher
    if teacher is None or (teacher.card and plan.scope == "smoke"):  # a smoke run's card has fresh weights
        return []
    metadata = {key: facts.get(key) for key in ("arch", "top1", "source", "norm")}
    if teacher.stage:
        files = (stage_folder(plan, teacher.stage, out) / "model.safetensors",)
        name, digest = f"{plan.name}-teacher-{teacher.arch}", plan.stage_digest(teacher.stage)
        return [Artifact(name=name, kind="model", files=files, digest=digest, metadata=metadata)]
    try:
        file = teacher_weights(str(teacher.card), teacher_card(plan), teacher.weights, "teacher.weights")
    except RunError as error:  # moved away since the stages that it taught were finished
        note(f"the teacher is not among the artifacts of this run: {error}")
        return []
    name, digest = f"teacher-{teacher.card}", weights_digest(file)
    item = Artifact(name=name, kind="model", files=(file,), digest=digest, metadata=metadata)
    return [replace(item, used=True, copied=False)]


def cache_artifact(plan: Plan, name: str, out: Path, folder: str, made_from: dict[str, str]) -> Artifact:
    """A stage's label cache by its manifest, which says what the labels depend on; the labels stay where they lie."""
    given = plan.stages[name].labels
    place = Path(given.folder) if given and given.folder else caches(plan, out) / folder
    manifest = place / "manifest.json"
    held = manifest.is_file()  # not where the stage was taken over from another run, with caches of its own
    return Artifact(
        name=f"labels-{folder}",
        kind="dataset",
        files=(manifest,) if held else (),
        digest=sha256(manifest) if held else folder,
        made_from=made_from,
        metadata={"folder": str(place)},
        used=True,
    )
