"""Weights that a student starts from, made by another training: published, or of a run."""

from pathlib import Path

import paddle
from paddle import nn

from ssld import models, weights
from ssld.config import cards
from ssld.config.recipe import Plan
from ssld.distill import optim
from ssld.errors import RecipeError, RunError
from ssld.files import sha256
from ssld.paths import weights_root
from ssld.progress import note


def check_starts(plan: Plan) -> None:
    """What a stage starts with must be right before the first one is run, which may take days.

    RunError for weights that are not there, or not the pinned ones, and a `stage_lr` of another network; RecipeError
    for an unknown training, or one of another architecture.
    """
    if plan.student.pretrained and plan.scope != "smoke":
        pretrained_file(plan)
    for name, stage in plan.stages.items():
        if stage.optim.stage_lr:
            block = plan.network_of(stage.network)
            if block.arch is None:
                what = "the network has no stages that are known here"
                raise RecipeError(f"stages.{name}.optim.stage_lr: {what}; leave it out")
            with paddle.LazyGuard():
                optim.check_stages(stage.optim, models.create(block.arch), f"stages.{name}")


def pretrained_file(plan: Plan) -> Path:
    """The file of `student.pretrained`. With a slash or a dot in it that is a path, else the name of a training whose
    published file is in the weights folder. Raises as `check_starts`."""
    given = str(plan.student.pretrained)
    if "/" in given or "." in given:
        if not Path(given).exists():  # a folder of 1.x will do
            raise RunError(f"student.pretrained: no file {given}; name one, or a published training")
        return Path(given)
    arch = cards.find_weights(given)[0]
    if arch != plan.student.arch:
        what = f"{given} is of {arch}, the student is {plan.student.title}"
        raise RecipeError(f"student.pretrained: {what}; name another")
    return published_file(given, "student.pretrained")


def published_file(name: str, where: str) -> Path:
    """The weights of a published training in the weights folder. RunError, which begins with `where`, if they are not
    there, or not the pinned ones; RecipeError for an unknown name.
    """
    published = cards.find_weights(name)[1]
    file = weights_root() / Path(published.path).name
    if not file.exists():
        raise RunError(f"{where}: no weights at {file}; run `ssld weights fetch {name}`")
    if published.sha256 and sha256(file) != published.sha256:
        raise RunError(f"{where}: {file} is not the file of {name} (sha256); fetch it again")
    return file


def start_pretrained(plan: Plan, network: nn.Layer) -> None:
    """Load `student.pretrained`; where it has another number of classes the last layer stays fresh, no more."""
    if plan.scope == "smoke":
        note(f"student.pretrained {plan.student.pretrained}: fresh weights, this is a smoke run")
        return
    weights.load_into(network, pretrained_file(plan), fresh_head=True)
