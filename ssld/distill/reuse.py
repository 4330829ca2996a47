"""Whether a finished stage may stand for one that would be trained: only where everything that made it is the same.

A stage keeps in `made_of.json`, written before its first step, what made it: the images of its lists, its own code, the
source of its losses, the weights that it starts with and of its teachers, and the versions of the packages. The digest
in the name of its folder covers the keys of the recipe; this covers what the keys only name.
"""

from __future__ import annotations

import ast
import inspect
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, Literal

import ssld
from ssld.config import cards, code
from ssld.config.teachers import Teacher
from ssld.distill.checkpoint import disk_errors, write_json
from ssld.distill.images import content_of
from ssld.distill.networks import QUANTIZE
from ssld.distill.pretrained import pretrained_file
from ssld.distill.runs import MODEL, RECORD, Run, StageRun
from ssld.distill.teacher_weights import file_digest, teacher_weights
from ssld.errors import DataError, RunError
from ssld.files import json_digest, sha256
from ssld.foreign import onnx_digests, program_digests
from ssld.losses import Loss
from ssld.progress import note
from ssld.runtime import barrier, versions

Trust = Literal["equal", "any", "none"]
"""Which finished stages are taken over: those that equal things made, any of the same recipe, or none."""
MADE_OF = "made_of.json"
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddleslim", "nvidia-dali-cuda120", "numpy")
OF_STAGE = "weights of stage"  # begins the name of the part that another stage of the run made
REPLACED = "replaced"  # folder of `stages` for results that were trained anew
Parts = dict[str, str]


def made_of(stage: StageRun) -> Parts:
    """What a stage is made of, beside the keys of its recipe: name -> sha256 or version."""
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
        parts["weights student.pretrained"] = file_digest(pretrained_file(stage.plan))
    for name, teacher in stage.plan.teachers_of(stage.name).items():
        parts |= {f"teacher {name}: {key}": digest for key, digest in _of_teacher(stage, teacher).items()}
    installed = versions()
    parts |= {f"version of {package}": str(installed[package]) for package in PACKAGES if installed.get(package)}
    return parts


def _of_teacher(stage: StageRun, teacher: Teacher) -> Parts:
    """The files that a teacher comes from, and of its card which network it is and how images are shown to it."""
    if teacher.stage:
        return {f"{OF_STAGE} {teacher.stage}": sha256(stage.run.stage(teacher.stage).model_file)}
    if teacher.run:
        return {"run": sha256(Run.of_folder(Path(teacher.run), stage.runtime).last.model_file)}
    if teacher.card:
        card = cards.find_teacher(teacher.card)
        shown: Parts = {"card": json_digest([card.arch, asdict(card.input)])}
        if stage.run.is_smoke:
            return shown
        file = teacher_weights(teacher.card, card, teacher.weights, "teacher.weights")
        return {**shown, "weights": file_digest(file)}
    parts = {"classes": sha256(Path(teacher.classes_file))} if teacher.classes_file else {}
    if teacher.onnx:
        return parts | {"onnx": json_digest(onnx_digests(Path(teacher.onnx)))}
    if teacher.program:
        return parts | {"program": json_digest(program_digests(Path(teacher.program)))}
    return {} if stage.run.is_smoke else {"weights": file_digest(Path(str(teacher.weights)))}


def source_digest(cls: type[Loss]) -> str:
    """sha256 over the source of a loss and of the files of `ssld.losses` that it imports; of one's own its class.

    The recipe's own files are covered by their digest, with what they import.
    """
    module = inspect.getmodule(cls)
    assert module is not None
    if not module.__name__.startswith("ssld.losses."):
        return json_digest(inspect.getsource(cls))
    folder, seen, left = Path(ssld.__file__).parent.parent, dict[str, str](), [module.__name__]
    while left:
        name = left.pop()
        file = folder.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8")
        seen[name] = text
        left += [found for found in _imports(text) if found.startswith("ssld.losses.")]
    return json_digest(seen)


def _imports(text: str) -> Iterator[str]:
    """The modules that a source text imports, and the names that may be modules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def changes(kept: Mapping[str, str] | None, parts: Parts) -> str | None:
    """What differs between what made a stage and what would make it now, in words; None where nothing does."""
    if kept is None:
        return "it was made by an earlier version, which kept no record of what made it"
    for name in _differing(kept, parts):
        if name not in parts:
            return f"{name} made it, and does so no more"
        return f"{name} is new" if name not in kept else f"{name} changed"
    return None


def _differing(kept: Mapping[str, str], parts: Parts) -> list[str]:
    """The names of the parts that are not the same in both."""
    return [name for name in dict.fromkeys([*parts, *kept]) if kept.get(name) != parts.get(name)]


def damage(folder: Path) -> str | None:
    """What is wrong with the weights of a finished stage, in words; None where they are what its record says."""
    file = folder / MODEL
    if not file.is_file():
        return f"{MODEL} is missing"
    kept = _read(folder / RECORD).get("sha256")
    return None if kept in (None, sha256(file)) else f"{MODEL} is damaged (sha256)"


def take_over(stage: StageRun, trust: Trust) -> Parts:
    """See to it that the folder of a stage holds a result that may be used, or a training that may go on, or nothing.

    A finished result is used where what made it is the same, from this run or from one beside it. Else a line says what
    changed, and the result is put aside: the stage is trained anew. `trust` is `any` to use it all the same, and
    `none` to train everything anew. Returns what the stage is made of now.

    Raises RunError for a training that was stopped and would go on with something else: half of each would be neither.
    """
    parts, runtime = made_of(stage), stage.runtime
    barrier(runtime)  # no rank looks at what another one changes
    if stage.is_done:
        reason = damage(stage.folder) or (
            "--fresh was given" if trust == "none" else changes(kept_parts(stage.folder), parts)
        )
        if reason and trust == "any" and not damage(stage.folder):
            note(f"stage {stage.name}: {reason}; its result is used all the same (--reuse)")
        elif reason:
            _put_aside(stage, reason)
    elif stage.folder.is_dir() and any(stage.folder.glob("checkpoint-*")):
        _check_begun(stage, parts, trust)
    if not stage.is_done and trust != "none":
        _borrow(stage, parts)
    barrier(runtime)
    if runtime.main and not stage.is_done:
        with disk_errors(stage.folder):
            stage.folder.mkdir(parents=True, exist_ok=True)
            write_json(stage.folder / MADE_OF, parts)
    barrier(runtime)
    return parts


def is_current(stage: StageRun, trust: Trust = "equal") -> bool:
    """Whether a stage is finished, and what made it is the same as now, or need not be (`trust`: any).

    What is not there any more, such as images that were moved away, made it all the same; a line says so.
    """
    before = [stage.start, *(stage.run.stage(name) for name in _teaching(stage))]
    if not all(one is None or one.is_done for one in [stage, *before]) or damage(stage.folder):
        return False
    if trust == "any":
        return True
    kept = kept_parts(stage.folder)
    try:
        parts = made_of(stage)
    except (DataError, OSError, RunError) as error:
        note(f"stage {stage.name}: what made it cannot be looked at: {error}")
        return kept is not None
    return changes(kept, parts) is None


def _teaching(stage: StageRun) -> list[str]:
    """The stages that train the teachers of a stage."""
    return [teacher.stage for teacher in stage.plan.teachers_of(stage.name).values() if teacher.stage]


def _check_begun(stage: StageRun, parts: Parts, trust: Trust) -> None:
    """RunError for a training that would go on with something else. One that would go on from, or learn from, another
    result of an earlier stage is put aside: that stage was trained anew, and so is this one.
    """
    kept = kept_parts(stage.folder)
    reason = changes(kept, parts)
    if trust == "none":
        _put_aside(stage, "--fresh was given")
    elif reason and trust == "any":
        note(f"stage {stage.name}: {reason} since its training began; it goes on all the same (--reuse)")
    elif anew := [name for name in _differing(kept or parts, parts) if OF_STAGE in name]:
        _put_aside(stage, f"{anew[0]} changed")
    elif reason:
        advice = f"put it back, go on all the same with --reuse, or remove {stage.folder} to train it anew"
        raise RunError(f"stage {stage.name}: {reason}, and its training had begun; {advice}")


def _put_aside(stage: StageRun, reason: str) -> None:
    """Move the folder of a stage to where nothing looks for results."""
    note(f"stage {stage.name}: {reason}; it is trained anew")
    barrier(stage.runtime)
    if stage.runtime.main:
        place = stage.folder.parent / REPLACED
        place.mkdir(exist_ok=True)
        names = (f"{stage.folder.name}-{number}" for number in count(1))
        stage.folder.rename(next(place / name for name in names if not (place / name).exists()))
    barrier(stage.runtime)


def _borrow(stage: StageRun, parts: Parts) -> None:
    """Take over the finished stage of the same digest, made of the same things, from a run beside this one."""
    if not stage.runtime.main:
        return
    beside = stage.run.folder.absolute().parent.glob(f"*/stages/{stage.folder.name}/{RECORD}")
    for folder in sorted(record.parent for record in beside):
        other = folder.parent.parent.name
        if folder == stage.folder.absolute() or _read(folder / RECORD).get("digest") != stage.digest:
            continue
        if reason := damage(folder) or changes(kept_parts(folder), parts):
            note(f"{stage.name}: not taken over from {other}: {reason}")
            continue
        note(f"{stage.name}: taken over from {other}")
        stage.folder.mkdir(parents=True, exist_ok=True)
        for name in (MODEL, *([QUANTIZE] if stage.settings.quantize else []), MADE_OF, RECORD):
            shutil.copyfile(folder / name, stage.folder / f"{name}.partial")
            (stage.folder / f"{name}.partial").replace(stage.folder / name)
        return


def kept_parts(folder: Path) -> dict[str, str] | None:
    """What a stage was made of, None where it kept no record."""
    file = folder / MADE_OF
    return _read(file) if file.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); remove its folder, and the stage is trained anew") from None
    if not isinstance(kept, dict):
        raise RunError(f"{file}: holds no mapping; remove its folder, and the stage is trained anew")
    return kept
