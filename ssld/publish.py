"""Send to trackers what a run has besides its curves: what it is, its numbers, and where its files come from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ssld.config import cards, recipe
from ssld.config.recipe import Plan
from ssld.distill.labelling import caches
from ssld.distill.runs import Run
from ssld.distill.teacher_weights import file_digest, teacher_weights
from ssld.errors import RunError
from ssld.files import sha256
from ssld.progress import note
from ssld.report.summary import summary
from ssld.track import About, Artifact, Options, Track, start


def start_track(run: Run, options: Options) -> Track:
    """Start the track of a run. On ranks above 0 it records nothing."""
    return start(run.folder, about(run.plan), options if run.runtime.main else replace(options, wandb="silent"))


def about(plan: Plan) -> About:
    """Describe a run to trackers. The group is the recipe with its overrides, over all seeds."""
    teachers = [teacher.title for teacher in plan.all_teachers.values()]
    return About(
        name=f"{plan.name}-{plan.digest[:8]}",
        run_id=plan.digest[:16],
        group=f"{plan.name}-{plan.group[:8]}",
        tags=tuple(dict.fromkeys((plan.scope, plan.student.title, *teachers))),
        config=recipe.plan_tree(plan),
    )


def publish(run: Run, result: dict[str, Any], log: Track) -> None:
    """Send a finished run's numbers, sample predictions, and the line from its teacher to its exported files."""
    if log.loggers:
        reason = result.get("baseline_missing")  # the reason why the numbers have no gain, in words
        words = {"baseline_missing": reason} if reason else {}
        words |= {f"{what}_failed": why for what, why in result.get("failures", {}).items()}
        log.summary(summary(result) | words)
        log.samples(run.folder / "samples.npz")
        for item in lineage(run, result):
            log.artifact(item)


def lineage(run: Run, result: dict[str, Any]) -> list[Artifact]:
    """Return teachers, label caches, student, its peers and export as artifacts.

    Each names by digest what it was made from.
    """
    plan, arch = run.plan, result["student"]["arch"]
    teachers = teacher_artifacts(run, result["teacher"] or {})
    made_from = {item.name: item.digest for item in teachers}
    cached = [
        cache_artifact(run, name, stage["labels"], made_from)
        for name, stage in result["stages"].items()
        if "labels" in stage
    ]
    sources = {item.name: item for item in [*teachers, *cached]}  # by name, because stages may share a cache
    student = Artifact(
        name=f"{plan.name}-student-{arch}",
        kind="model",
        files=(run.last.model_file,),
        digest=run.last.digest,
        made_from={item.name: item.digest for item in sources.values()},
        metadata={key: result.get(key) for key in ("top1", "gain", "baseline_missing")} | {"run": plan.digest},
    )
    peers = [
        Artifact(
            name=f"{plan.name}-{name}-{facts['arch']}",
            kind="model",
            files=(run.last.file_of_peer(name),),
            digest=run.last.digest,
            made_from=student.made_from,
            metadata={"top1": facts["top1"], "run": plan.digest},
        )
        for name, facts in result.get("peers", {}).items()
    ]
    if not result["export"]:
        return [*sources.values(), student, *peers]
    export = Artifact(
        name=f"{plan.name}-{arch}",
        kind="model",
        files=tuple(sorted((run.folder / "export").iterdir())),
        digest=plan.digest,
        made_from={student.name: student.digest},
        metadata={"top1": result["top1"], "formats": list(plan.export.formats)},
    )
    return [*sources.values(), student, *peers, export]


def publish_labels(run: Run, cached: dict[str, str], options: Options) -> None:
    """Record `ssld label` as a run of its own, which takes the teacher and gives the caches.

    `cached` maps the name of a stage to the folder of its cache.
    """
    description = about(run.plan)
    description = replace(
        description, name=f"{description.name}-labels", run_id=f"labels-{description.run_id}", job="label"
    )
    teachers = [replace(item, used=True) for item in teacher_artifacts(run, {})]
    made_from = {item.name: item.digest for item in teachers}
    label_caches = [cache_artifact(run, name, folder, made_from) for name, folder in cached.items()]
    with start(run.folder, description, options) as log:
        for item in [*teachers, *(replace(item, used=False) for item in label_caches)]:
            log.artifact(item)


def teacher_artifacts(run: Run, facts: dict[str, Any]) -> list[Artifact]:
    """Return the files of the teachers that any stage asks, as artifacts.

    A file is what a stage of this run made, or one from elsewhere that is not copied. `facts` is what the result says
    of the teacher, or of several combined.
    """
    artifacts = (_teacher_artifact(run, name, facts) for name in run.plan.all_teachers if run.plan.is_asked(name))
    return [item for item in artifacts if item is not None]


def _teacher_artifact(run: Run, name: str, facts: dict[str, Any]) -> Artifact | None:
    plan, teacher = run.plan, run.plan.all_teachers[name]
    metadata = {key: facts.get(key) for key in ("arch", "top1", "source", "norm")}
    if teacher.stage:
        stage = run.stage(teacher.stage)
        artifact_name = "teacher" if name == "teacher" else f"teacher-{name}"
        network = plan.network_of(stage.settings.network)
        artifact_name = f"{plan.name}-{artifact_name}-{network.title}"
        return Artifact(
            name=artifact_name, kind="model", files=(stage.model_file,), digest=stage.digest, metadata=metadata
        )
    if run.is_smoke:  # the teachers of a smoke run have fresh weights
        return None
    try:
        file = _teacher_file(run, name)
    except RunError as error:  # the file was moved after the stages that it taught were finished
        note(f"the teacher is not among the artifacts of this run: {error}")
        return None
    digest, artifact_name = file_digest(file), f"teacher-{teacher.card or file.stem}"
    item = Artifact(name=artifact_name, kind="model", files=(file,), digest=digest, metadata=metadata)
    return replace(item, used=True, copied=False)


def _teacher_file(run: Run, name: str) -> Path:
    """Return the file or folder of a teacher from outside the run. Raises RunError where it is missing."""
    teacher = run.plan.all_teachers[name]
    if teacher.card:
        key = f"{run.plan.key_of(name)}.weights"
        return teacher_weights(teacher.card, cards.find_teacher(teacher.card), teacher.weights, key)
    if teacher.run:
        return Run.of_folder(Path(teacher.run), run.runtime).last.weights_file()
    file = Path(str(teacher.onnx or teacher.program or teacher.weights))
    if not file.exists():
        raise RunError(f"{run.plan.key_of(name)}: no file or folder {file}; put it back")
    return file


def cache_artifact(run: Run, name: str, folder: str, made_from: dict[str, str]) -> Artifact:
    """Return a stage's label cache as an artifact.

    It has the manifest of the cache, which says what the labels depend on; the labels are not copied.
    """
    cached = run.plan.stages[name].labels
    place = Path(cached.folder) if cached and cached.folder else caches(run) / folder
    manifest = place / "manifest.json"
    is_there = manifest.is_file()  # a stage that was taken over has its cache in another run
    return Artifact(
        name=f"labels-{folder}",
        kind="dataset",
        files=(manifest,) if is_there else (),
        digest=sha256(manifest) if is_there else folder,
        made_from=made_from,
        metadata={"folder": str(place)},
        used=True,
    )
