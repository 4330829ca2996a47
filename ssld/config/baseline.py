"""Decide what a student's measured top-1 may be compared with, and what the student is called.

Both follow from its plan and its images. A published top-1 is a number of ImageNet's 50,000 validation images with
their 1,000 classes. It says nothing of a student that was measured on other images, so that it is a baseline only where
the images are those.
"""

import os.path
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from ssld.config import cards, coverage
from ssld.config.code import is_code
from ssld.config.recipe import Plan

Training = Literal["distilled", "trained"]
NEAR = 0.1  # the share by which the steps of two trainings that are compared may differ without a remark
WORDNET_ID = re.compile(r"n\d{8}")
LABEL = re.compile(r"\d{1,18}")  # of a line of a list; a longer number is none
TRAINING_IMAGE = re.compile(r"n\d{8}_\d+")  # beginning of the names of ImageNet's training images: n01440764_10026.JPEG


def training(plan: Plan) -> Training:
    """Return what the last stage's student may be called.

    It is distilled where a stage that made it learnt from a teacher: the last stage, or one of those that it continues
    by `init`. Otherwise it is trained.
    """
    name: str | None = list(plan.stages)[-1]
    while name:
        stage = plan.stages[name]
        if stage.is_taught:
            return "distilled"
        name = stage.continues
    return "trained"


def unequal(plan: Plan, steps: Mapping[str, int]) -> str | None:
    """Return a remark where the baseline was trained for another number of steps than the student.

    `steps` maps the stages to their numbers of steps. A stage counts with those that it continues or whose layers of
    losses it begins with, and stages that both need count for neither. Returns None where the numbers differ by no more
    than the share NEAR of the larger one, where no stage is the baseline, and where the student continues the baseline.
    """
    student = _chain(plan, plan.last)
    if plan.baseline is None or plan.baseline in student or plan.scope == "smoke":
        return None
    compared = _chain(plan, plan.baseline)
    own, its = (
        [name for name in chain if name not in other] for chain, other in ((student, compared), (compared, student))
    )
    own_steps, its_steps = (sum(steps[name] for name in chain) for chain in (own, its))
    if abs(own_steps - its_steps) <= NEAR * max(own_steps, its_steps):
        return None
    wanted = own_steps - its_steps + steps[plan.baseline]
    remark = f"the baseline ({' + '.join(its)}) has {its_steps:,} steps, the student ({' + '.join(own)}) {own_steps:,}"
    if wanted > 0 and steps[plan.baseline]:
        epochs = plan.stages[plan.baseline].epochs * wanted / steps[plan.baseline]
        remark += f"; stages.{plan.baseline}.epochs={epochs:.4g} gives both as many"
    return remark


def _chain(plan: Plan, name: str) -> list[str]:
    """Return a stage behind those that it continues, and whose layers of losses it begins with, in their order."""
    stage = plan.stages[name]
    needed = {before for start in {stage.continues, *stage.takes_from} - {None} for before in _chain(plan, str(start))}
    return [*(one for one in plan.stages if one in needed), name]


def missing(plan: Plan, root: Path) -> str | None:
    """Return why a run of this plan has no baseline, and so no gain, as the end of a sentence.

    Returns None where it has one. A baseline is the stage that the recipe names. Without one it is the published top-1
    of the student's plain training, where the run's validation images are ImageNet's (`other_set`).
    """
    if plan.baseline:
        return None
    reason = _other_training(plan) or other_set(plan, root)
    return reason and f"the recipe names none, and {reason}"


def _other_training(plan: Plan) -> str | None:
    """Return why the card has no published top-1 of a plain training like that of this student.

    Returns None where it has one.
    """
    arch = plan.student.arch
    if arch is None:
        return f"no training of {plan.student.code} is published"
    if plan.student.head:
        return f"the card's published number is of {arch} with its own classifier"
    if "plain" not in cards.find_student(arch).published:
        return f"no plain training of {arch} is published"
    if plan.student.pretrained:
        return "the card's published training started from fresh weights, this one from student.pretrained"
    return None


def other_set(plan: Plan, root: Path) -> str | None:
    """Return why the last stage's validation images are not ImageNet's, as the end of a sentence.

    Returns None where nothing says so. `root` is the folder that the lists of the plan are relative to. A list that is
    not there yet is not looked at.
    """
    if plan.scope == "smoke":
        return "the images of a smoke run are fake"
    if plan.classes != coverage.CLASSES:
        return (
            f"the card's published number is of ImageNet's {coverage.CLASSES:,} classes, not of these {plan.classes:,}"
        )
    val = plan.stages[plan.last].data.val
    if is_code(val):
        return f"the images are a data set of one's own, {val}"
    file = root / val
    if not file.is_file():
        return None
    lines = [line.rsplit(None, 1) for line in _lines(file)]
    labels = [int(words[-1]) if len(words) == 2 and LABEL.fullmatch(words[-1]) else -1 for words in lines]
    return other_images([words[0] for words in lines], labels, class_lines(file))


def class_lines(file: Path) -> list[str]:
    """Return the lines of the classes.txt beside a list file, or [] where there is none."""
    class_file = file.with_name("classes.txt")
    return _lines(class_file) if class_file.is_file() else []


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8", "surrogateescape").split("\n") if line.strip()]


def other_images(paths: Sequence[str], labels: Iterable[int], classes: Sequence[str]) -> str | None:
    """Return why labelled images are not ImageNet's validation set, as the end of a sentence.

    Returns None where nothing says so. The function looks at what a list holds, not at how the list or its folder is
    called. The list must have 50,000 different paths, 50 with each label from 0 to 999. None of the images may be named
    as ImageNet's training images are, because 50 of each class of those are often held out. `classes`, the lines of the
    classes.txt beside the list, must be 1,000 WordNet ids in ascending order, where there is such a file.

    This proves that the list has the shape of the published set. It does not prove that the pixels are the published
    ones, because no checksums of them are known here: a copy with other pixels, such as ImageNet-C, has the same shape.
    (The lists that `ssld data prepare` makes of ImageNet-C and ReaL say how they are scored, and `ssld run` refuses
    those.)
    """
    label_of = {os.path.normpath(path): label for path, label in zip(paths, labels, strict=True)}
    counts = Counter(label_of.values())
    if coverage.of_list([counts[label] for label in range(len(counts))]) != "full":
        fault = f"has {len(label_of):,} different images of {len(counts):,} classes"
    elif any(TRAINING_IMAGE.match(os.path.basename(path)) for path in label_of):
        fault = "has images that are named as the training images are"
    elif classes and not _are_wordnet_ids(classes):
        fault = "has a classes.txt beside it that names other classes"
    else:
        return None
    images = f"{coverage.CLASSES * coverage.OF_A_CLASS:,} validation images, {coverage.OF_A_CLASS} of each class"
    return f"the card's published number is of ImageNet's {images}; this list {fault}"


def _are_wordnet_ids(classes: Sequence[str]) -> bool:
    ascending = [*classes] == sorted(set(classes)) and len(classes) == coverage.CLASSES
    return ascending and all(map(WORDNET_ID.fullmatch, classes))
