"""Check the views of a stage, and what its terms read of them and of the confidence of a teacher."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ssld.errors import RecipeError, did_you_mean
from ssld.interfaces import FIRST_VIEW
from ssld.losses import Term
from ssld.losses.views import by_view, split

if TYPE_CHECKING:
    from ssld.config.recipe import Data, Stage

TAPS = r"logits|map|embedding|classifier|stage\d*|stages"  # what networks call their outputs and layers


def check_views(stage: Stage, where: str) -> None:
    """Check the further views of a stage and the terms that read them. Raises RecipeError otherwise.

    `where` is the path of the stage.
    """
    for name, view in stage.data.views.items():
        path = f"{where}.data.views.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or re.fullmatch(TAPS, name):
            what = f"{name!r} is no name of a view, which stands before those of outputs"
            raise RecipeError(f"{path}: {what}; write small letters, such as strong, and no name of an output")
        if view != "rotations" and (view.mixup > 0 or view.cutmix > 0):
            what = "every view is mixed as the first one is"
            raise RecipeError(f"{path}: {what}; set mixup and cutmix in data.augment")
    rotations = [name for name, view in stage.data.views.items() if view == "rotations"]
    if len(rotations) > 1:
        what = f"{rotations[0]} and {rotations[1]} are the same rotations"
        raise RecipeError(f"{where}.data.views: {what}; leave one of them out")
    for name, term in stage.loss.items():
        _check_term(term, stage.data, f"{where}.loss.{name}")
    read = by_view(stage.student_reads | stage.teacher_reads, stage.data.views)
    for name in stage.data.views:
        if name not in read:
            advice = "name it in student_view or teacher_view of a term, or leave it out"
            raise RecipeError(f"{where}.data.views.{name}: no loss reads this view; {advice}")


def _check_term(term: Term, data: Data, where: str) -> None:
    """Check that what a term reads of views exists and has the rows that its loss reads of an image."""
    loss, reads = term.loss, term.reads
    for role, view in (("student", term.student_view), ("teacher", term.teacher_view)):
        if view is not None and view not in data.views:
            hint = did_you_mean(view, data.views) or f"; add it, such as data.views: {{{view}: {{auto: randaugment}}}}"
            raise RecipeError(f"{where}.{role}_view: no view named {view!r}{hint}")
    if term.teacher_view and not reads.teacher:
        raise RecipeError(f"{where}.teacher_view: {term.kind} reads nothing of a teacher; leave it out")
    if "rotation" in reads.batch and data.turned is None:
        raise RecipeError(
            f"{where}: {term.kind} reads rotations; add a view of them, data.views: {{turned: rotations}}"
        )
    for key, view, names in (
        ("student_view", term.student_view, reads.student),
        ("teacher_view", term.teacher_view, reads.teacher),
    ):
        for name in sorted(names):
            of_view, output = split(name, data.views)
            if view and split(output, data.views)[0] != FIRST_VIEW:
                what = f"{term.kind} says itself that it reads {output!r}"
                raise RecipeError(f"{where}.{key}: {what}; leave {key} out, or change that option")
            if data.rows(of_view) != loss.views:
                raise RecipeError(f"{where}: {_other_rows(term, key, of_view, data)}")
    if term.min_teacher and loss.coupled:
        what = f"{term.kind} compares the images of a micro-batch with each other and gives one number for all"
        raise RecipeError(f"{where}.min_teacher: {what}; leave it out, or take a loss of single images such as kl")


def _other_rows(term: Term, key: str, view: str, data: Data) -> str:
    """Say that a loss reads another number of rows of each image than a view has, and what to do."""
    title = f"view {view!r}" if view else "the first view"
    if term.loss.views == 1:
        what = f"{term.kind} reads one row of each image, and {title} has {data.rows(view)}"
        return f"{what}; name another view in {key}"
    what = f"{term.kind} reads {term.loss.views} rows of each image, and {title} has {data.rows(view)}"
    turned = data.turned or "turned"
    keys = [name for name in ("student_view", "teacher_view") if name == "student_view" or term.reads.teacher]
    how = " and ".join(f"{name}: {turned}" for name in keys)
    return f"{what}; set {how}, which data.views: {{{turned}: rotations}} makes"


def check_named_views(stage: Stage, where: str) -> None:
    """Check that the views that losses name in their options exist, in a stage whose networks give no such taps.

    Raises RecipeError otherwise. `where` is the path of the stage.
    """
    for name, term in stage.loss.items():
        for output in sorted(term.loss.reads.student | term.loss.reads.teacher):
            view, _, rest = output.partition(".")
            if rest and rest != "pre" and view not in stage.data.views:
                what = f"{term.kind} reads {output!r}, and this stage has no view {view!r}"
                advice = f"add it, such as data.views: {{{view}: {{auto: randaugment}}}}"
                raise RecipeError(f"{where}.loss.{name}: {what}; {advice}")
