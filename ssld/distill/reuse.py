"""Decide whether a finished stage may be used again. It may where everything that made it is the same.

A stage records in `made_of.json`, before its first step, what makes it: the images of its lists, its own code, the
source of its losses, the weights that it starts with and those of its teachers, and the versions of the packages. The
digest in the name of its folder covers the keys of the recipe; this record covers what the keys only name.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Literal

import ssld
from ssld.config import cards, code, fresh
from ssld.config.keys import digested
from ssld.config.teachers import Teacher
from ssld.distill.checkpoint import NAMES, disk_errors, newest_step, write_json
from ssld.distill.images import content_of
from ssld.distill.networks import QUANTIZE, int8_layers
from ssld.distill.pretrained import pretrained_file
from ssld.distill.runs import MODEL, RECORD, Run, StageRecord, StageRun, damage, record_of, weights_files
from ssld.distill.teacher_weights import file_digest, teacher_weights
from ssld.errors import DataError, RunError
from ssld.files import copy_whole, json_digest, obstacle, read_json, sha256
from ssld.foreign import onnx_digests, program_digests
from ssld.losses import Loss
from ssld.progress import note
from ssld.runtime import barrier, versions
from ssld.weights.store import BESIDE

Trust = Literal["equal", "any", "none"]
"""Say which finished stages are used.

With `equal` they are those that equal things made, with `any` those of the same recipe, and with `none` there are none
but those of the run that `none` began, see `config.fresh`.
"""
MADE_OF = "made_of.json"
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddleslim", "nvidia-dali-cuda120", "numpy")
OF_STAGE = "weights of stage"  # beginning of the name of a part that another stage of the run made
REPLACED = "replaced"  # folder in `stages` for the old results of stages that are trained anew
WITHOUT_VALUES = ("ssld.errors", "ssld.interfaces", "ssld.runtime")
"""Losses import these modules for messages, types and the ranks of a run, and for no arithmetic."""
Parts = dict[str, str]
Carry = Callable[[Path, StageRecord], None]


def made_of(stage: StageRun) -> Parts:
    """Return what a stage is made of, besides the keys of its recipe.

    Each name has a sha256 or a version.
    """
    settings, run = stage.settings, stage.run
    parts: Parts = {f"images {name}": content_of(run, name) for name in settings.data.train}
    parts[f"validation images {settings.data.val}"] = content_of(run, settings.data.val)
    parts |= {f"code {file}": digest for file, digest in stage.plan.code_of(stage.name).items()}
    kinds = {term.kind: type(term.loss) for term in settings.loss.values()}
    built_in = {kind: cls for kind, cls in kinds.items() if code.file_of(cls, stage.plan.code) is None}
    parts |= {f"loss {kind}": source_digest(cls) for kind, cls in built_in.items()}
    if stage.start:
        parts[f"{OF_STAGE} {stage.start.name}"] = sha256(stage.start.model_file)
    elif settings.init == "pretrained" and not run.is_smoke:
        parts["weights student.pretrained"] = file_digest(pretrained_file(stage.plan.student, "student"))
    for of in sorted(settings.takes_from):
        parts[f"{OF_STAGE} {of}, layers of losses"] = sha256(run.stage(of).helpers_file)
    for name, peer in settings.peers.items():
        where = f"stages.{stage.name}.peers.{name}"
        if stage.start and name in stage.start.settings.peers:
            parts[f"{OF_STAGE} {stage.start.name}, peer {name}"] = sha256(stage.start.file_of_peer(name))
        elif peer.pretrained and not run.is_smoke:
            parts[f"weights {where}.pretrained"] = file_digest(pretrained_file(peer, where))
    for name, teacher in {**stage.plan.teachers_of(stage.name), **_of_heads(stage)}.items():
        parts |= {f"teacher {name}: {key}": digest for key, digest in _of_teacher(stage, name, teacher).items()}
    installed = versions()
    parts |= {f"version of {package}": str(installed[package]) for package in PACKAGES if installed.get(package)}
    return parts


def _of_heads(stage: StageRun) -> dict[str, Teacher]:
    """Return the teachers whose end a network of a stage has, by name."""
    plan, settings = stage.plan, stage.settings
    heads = [getattr(block, "head", None) for block in (plan.network_of(settings.network), *settings.peers.values())]
    names = [plan.head_teacher(head) for head in heads if head is not None and head.kind == "teacher"]
    return {name: plan.all_teachers[name] for name in names}


class KnownParts:
    """Remember what stages are made of until one of them is trained, so that large files are hashed once.

    Results of stages are parts of other stages. Whoever makes a result, and whatever may take hours, therefore calls
    `forget` afterwards.
    """

    def __init__(self) -> None:
        self._parts: dict[str, Parts] = {}

    def of(self, stage: StageRun) -> Parts:
        """Return what `made_of` says of a stage of the run."""
        if stage.name not in self._parts:
            self._parts[stage.name] = made_of(stage)
        return self._parts[stage.name]

    def forget(self) -> None:
        """Look at all files anew when they are asked for again."""
        self._parts.clear()


def _of_teacher(stage: StageRun, name: str, teacher: Teacher) -> Parts:
    """Return the digests of the files that a teacher comes from; of a card also of its network and of its input."""
    if teacher.stage:
        return {f"{OF_STAGE} {teacher.stage}": sha256(stage.run.stage(teacher.stage).model_file)}
    if teacher.run:
        return {"run": sha256(Run.of_folder(Path(teacher.run), stage.runtime).last.weights_file())}
    if teacher.card:
        card = cards.find_teacher(teacher.card)
        shown: Parts = {"card": json_digest([card.arch, digested(card.input)])}
        if stage.run.is_smoke:
            return shown
        file = teacher_weights(teacher.card, card, teacher.weights, f"{stage.plan.key_of(name)}.weights")
        return {**shown, "weights": file_digest(file)}
    parts = {"classes": sha256(Path(teacher.classes_file))} if teacher.classes_file else {}
    if teacher.onnx:
        return parts | {"onnx": json_digest(onnx_digests(Path(teacher.onnx)))}
    if teacher.program:
        return parts | {"program": json_digest(program_digests(Path(teacher.program)))}
    return {} if stage.run.is_smoke else {"weights": file_digest(Path(str(teacher.weights)))}


def source_digest(cls: type[Loss]) -> str:
    """Return the sha256 over the source of a loss of this library and of what it imports of this library.

    Modules without arithmetic (`WITHOUT_VALUES`) are left out, so that another message of an error changes no result.
    The digests of a recipe's own files cover these and what they import.
    """
    folder, texts, modules = Path(ssld.__file__).parent.parent, dict[str, str](), [cls.__module__]
    while modules:
        name = modules.pop()
        file = folder.joinpath(*name.split(".")).with_suffix(".py")
        if name in texts or name in WITHOUT_VALUES or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8")
        texts[name] = text
        modules += [imported for imported in _imports(text) if imported.startswith("ssld.")]
    return json_digest(texts)


def _imports(text: str) -> Iterator[str]:
    """Yield the modules that a source text imports, and the names that may be modules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def changes(recorded: Mapping[str, str] | None, parts: Parts) -> str | None:
    """Return, in words, what differs between what made a stage and what would make it now.

    Returns None where nothing differs.
    """
    if recorded is None:
        return "it was made by an earlier version, which kept no record of what made it"
    for name in _differing(recorded, parts):
        if name not in parts:
            return f"{name} made it, and does so no more"
        return f"{name} is new" if name not in recorded else f"{name} changed"
    return None


def _differing(recorded: Mapping[str, str], parts: Parts) -> list[str]:
    """Return the names of the parts that are not the same in both."""
    return [name for name in dict.fromkeys([*parts, *recorded]) if recorded.get(name) != parts.get(name)]


def take_over(stage: StageRun, trust: Trust, known: KnownParts, carry: Carry = lambda run, record: None) -> Parts:
    """See to it that the folder of a stage holds a result that may be used, or a training that may go on, or nothing.

    A finished result is used where what made it is the same, from this run or from one beside it. Else a line says what
    changed, and the result is put aside: the stage is trained anew. A damaged result is put aside too, and made again
    from the last checkpoint of its training. `trust` is `any` to use what something else made all the same. In a run
    that begins anew no result from beside it is used. `carry` is called with the folder of another run whose result is
    taken over, and with its record of the stage, before that is done. Returns what the stage is made of now.

    Raises RunError for a stopped training that would go on with something else, because its result would be neither.
    """
    parts, runtime = known.of(stage), stage.runtime
    barrier(runtime)  # no rank reads what another one changes
    broken = _broken(stage)
    if broken or stage.is_done:
        change = changed(stage, stage.folder, parts, trust)
        if change and trust != "any":
            _put_aside(stage, change)
        elif broken:
            _put_result_aside(stage, broken)
        elif change:
            note(f"stage {stage.name}: {change}; its result is used all the same (--reuse)")
    elif _has_begun(stage):
        _check_begun(stage, parts, trust)
    if not stage.is_done:
        if not fresh.state(stage.run.folder):
            _borrow(stage, parts, carry)
        known.forget()  # this stage gets another result
    barrier(runtime)
    if runtime.main and not stage.is_done:
        with disk_errors(stage.folder):
            stage.folder.mkdir(parents=True, exist_ok=True)
            write_json(stage.folder / MADE_OF, parts)
    barrier(runtime)
    return parts


def changed(stage: StageRun, folder: Path, parts: Parts, trust: Trust = "equal") -> str | None:
    """Return, in words, what differs between what made the finished stage of a folder and what would make it now.

    Its record names the digest of what made it; made_of.json says what that was. Raises RunError where both are of no
    use, unless `trust` is `any`: then this is the difference.
    """
    with suppress(RunError):  # a damaged record is told elsewhere
        if record_of(folder, stage.digest).get("made_of") == json_digest(parts):
            return None
    try:
        return changes(kept_parts(folder), parts)
    except RunError as error:
        if trust != "any":
            raise
        return str(error).partition(";")[0]


def _broken(stage: StageRun) -> str | None:
    """Return, in words, what is wrong with the result of a stage, or None where it is whole or not there."""
    for name in (RECORD, MODEL):
        if what := obstacle(stage.folder / name):
            return f"{name} {what}"
    return lacks(stage, stage.folder) if stage.is_done else None


def lacks(stage: StageRun, folder: Path) -> str | None:
    """Return, in words, what is wrong with a finished result of a stage, or what a later stage needs of it in vain."""
    reason = damage(folder, stage.digest)
    if reason is None and stage.plan.handed_on(stage.name) and "helpers" not in record_of(folder, stage.digest):
        return "it kept no layers of losses, and a later stage begins with them"
    return reason


def is_current(stage: StageRun, trust: Trust, known: KnownParts) -> bool:
    """Return whether a stage is finished and what made it is the same as now. With `any` as `trust` it may differ.

    Something that is no longer there, such as images that were moved, counts as unchanged; a line says so.
    """
    before = [*_teaching(stage), *stage.settings.takes_from]
    earlier_stages = [stage.start, *(stage.run.stage(name) for name in before)]
    if not all(required is None or required.is_done for required in [stage, *earlier_stages]) or _broken(stage):
        return False
    if trust == "any":
        return True
    try:
        parts = known.of(stage)
    except (DataError, OSError, RunError) as error:
        note(f"stage {stage.name}: what made it cannot be looked at: {error}")
        return kept_parts(stage.folder) is not None
    return changed(stage, stage.folder, parts) is None


def trust_now(run: Run, trust: Trust) -> Trust:
    """Return `none` where a run is to begin anew and its old results are still there, see `begin_anew`.

    Where it was stopped after that, it goes on: what its folder holds is fresh.
    """
    barrier(run.runtime)
    if trust == "none" and run.runtime.main:
        fresh.ask([run.folder])
    barrier(run.runtime)
    if fresh.state(run.folder) == fresh.ASKED:
        return "none"
    return "equal" if trust == "none" else trust


def begin_anew(run: Run) -> None:
    """Put aside what a run folder holds, so that every stage is trained anew, and record that."""
    for stage in run.stages.values():
        if stage.is_done or _has_begun(stage):
            _put_aside(stage, "--fresh was given")
    if run.runtime.main:
        (run.folder / "report.html").unlink(missing_ok=True)
        fresh.begin(run.folder)
    barrier(run.runtime)


def to_train(run: Run, trust: Trust, known: KnownParts) -> list[StageRun]:
    """Return the stages that are to be trained, or taken over from a run beside this one.

    They are those that are not finished or that something else made, and those that continue or learn from one of
    these.
    """
    stages: list[StageRun] = []
    for stage in run.stages.values():
        if trust == "none" or _depends_on(stage, stages) or not is_current(stage, trust, known):
            stages.append(stage)
    return stages


def _depends_on(stage: StageRun, others: list[StageRun]) -> bool:
    before = {stage.settings.continues, *stage.settings.takes_from, *_teaching(stage)}
    return bool(before & {one.name for one in others})


def check_begun(stages: list[StageRun], trust: Trust, known: KnownParts) -> None:
    """Check that no stage that is to be trained had begun with something else than it would go on with.

    Raises RunError for the first one that had. `take_over` looks at each stage again, and at those that depend on
    others of them, when their turn comes.
    """
    for stage in stages:
        if trust == "equal" and _has_begun(stage) and not _depends_on(stage, stages):
            _check_begun(stage, known.of(stage), trust)


def _has_begun(stage: StageRun) -> bool:
    return not stage.is_done and any(stage.folder.glob(NAMES))


def _teaching(stage: StageRun) -> list[str]:
    """Return the names of the stages that train the teachers of a stage, or those whose end its networks have."""
    teachers = [*stage.plan.teachers_of(stage.name).values(), *_of_heads(stage).values()]
    return [teacher.stage for teacher in teachers if teacher.stage]


def _check_begun(stage: StageRun, parts: Parts, trust: Trust) -> None:
    """Check that a stopped training would go on with the same things. Raises RunError otherwise.

    A training that would go on from, or learn from, another result of an earlier stage is put aside: that stage was
    trained anew, and so is this one.
    """
    reason = changed(stage, stage.folder, parts, trust)
    if reason is None:
        return
    if trust == "any":
        note(f"stage {stage.name}: {reason} since its training began; it goes on all the same (--reuse)")
        return
    differing = _differing(kept_parts(stage.folder) or parts, parts)
    if changed_stages := [name for name in differing if OF_STAGE in name]:
        _put_aside(stage, f"{changed_stages[0]} changed")
        return
    advice = f"put it back, go on all the same with --reuse, or remove {stage.folder} to train it anew"
    raise RunError(f"stage {stage.name}: {reason}, and its training had begun; {advice}")


def _put_aside(stage: StageRun, reason: str) -> None:
    """Move the folder of a stage to a place where no run looks for results."""
    note(f"stage {stage.name}: {reason}; it is trained anew")
    barrier(stage.runtime)
    if stage.runtime.main:
        with disk_errors(stage.folder):
            stage.folder.rename(_place_aside(stage))
    barrier(stage.runtime)


def _put_result_aside(stage: StageRun, reason: str) -> None:
    """Move a damaged result to a place where no run looks for results. The checkpoints of its training stay."""
    checkpoint = newest_step(stage.folder)
    how = "trained anew" if checkpoint is None else f"made again from its checkpoint of step {checkpoint}"
    note(f"stage {stage.name}: {reason}; it is {how}")
    barrier(stage.runtime)
    if stage.runtime.main:
        with disk_errors(stage.folder):
            place = _place_aside(stage)
            place.mkdir()
            weights_of_stage = (file.name for file in stage.folder.glob("*.safetensors"))
            for name in (RECORD, *weights_of_stage):  # without its record it counts as a training that was stopped
                if os.path.lexists(stage.folder / name):
                    (stage.folder / name).rename(place / name)
    barrier(stage.runtime)


def _place_aside(stage: StageRun) -> Path:
    """Return a path for what a stage made that is no longer used. Nothing is there yet."""
    place = stage.folder.parent / REPLACED
    place.mkdir(exist_ok=True)
    paths = (place / f"{stage.folder.name}-{number}" for number in count(1))
    return next(path for path in paths if not path.exists())


def _borrow(stage: StageRun, parts: Parts, carry: Carry) -> None:
    """Take over the finished stage of the same digest, made of the same things, from a run beside this one."""
    if not stage.runtime.main:
        return
    for folder in lenders(stage):
        lender = folder.parent.parent.name
        if reason := lacks(stage, folder) or changed(stage, folder, parts, "any"):
            note(f"{stage.name}: not taken over from {lender}: {reason}")
            continue
        note(f"{stage.name}: taken over from {lender}")
        record = record_of(folder, stage.digest)
        carry(folder.parent.parent, record)
        with disk_errors(stage.folder):
            stage.folder.mkdir(parents=True, exist_ok=True)
            for name in weights_files(record):
                if (beside := (folder / name).with_suffix(BESIDE)).is_file():
                    copy_whole(beside, stage.folder / beside.name)
                copy_whole(folder / name, stage.folder / name)
            if stage.settings.quantize:
                write_json(stage.folder / QUANTIZE, int8_layers(folder))
            write_json(stage.folder / MADE_OF, parts)
            copy_whole(folder / RECORD, stage.folder / RECORD)
        return


def lenders(stage: StageRun) -> Iterator[Path]:
    """Yield the folders of finished stages of the same digest in the runs beside that of a stage.

    Their files may be damaged.
    """
    records = stage.run.folder.absolute().parent.glob(f"*/stages/{stage.folder.name}/{RECORD}")
    yield from sorted(record.parent for record in records if record.parent != stage.folder.absolute())


def kept_parts(folder: Path) -> Parts | None:
    """Return what a stage was made of, or None where it kept no record. Raises RunError where that is damaged."""
    file = folder / MADE_OF
    advice = f"go on all the same with --reuse, or remove {folder}, and the stage is trained anew"
    return read_json(file, advice) if file.exists() else None
