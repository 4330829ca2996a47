"""Load the weights that a student starts from. Another training made them: a published one, or one of a run."""

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
    """Check what the stages start with before the first stage is run, which may take days.

    Raises RunError for weights that are missing or are not the pinned ones, and for a `stage_lr` of another network.
    Raises RecipeError for an unknown training, and for one of another architecture.
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
    """Return the file of `student.pretrained`.

    A value with a slash or a dot in it is a path. Any other value is the name of a training whose published file is in
    the weights folder. Raises as `check_starts` does.
    """
    source = str(plan.student.pretrained)
    if "/" in source or "." in source:
        if not Path(source).exists():  # a folder of version 1.x is accepted
            raise RunError(f"student.pretrained: no file {source}; name one, or a published training")
        return Path(source)
    arch = cards.find_weights(source)[0]
    if arch != plan.student.arch:
        what = f"{source} is of {arch}, the student is {plan.student.title}"
        raise RecipeError(f"student.pretrained: {what}; name another")
    return published_file(source, "student.pretrained")


def published_file(name: str, where: str) -> Path:
    """Return the weights file of a published training in the weights folder.

    Raises RunError, which begins with `where`, for a file that is missing or is not the pinned one, and RecipeError for
    an unknown name.
    """
    published = cards.find_weights(name)[1]
    file = weights_root() / Path(published.path).name
    if not file.exists():
        raise RunError(f"{where}: no weights at {file}; run `ssld weights fetch {name}`")
    if published.sha256 and sha256(file) != published.sha256:
        raise RunError(f"{where}: {file} is not the file of {name} (sha256); run `ssld weights fetch {name}` again")
    return file


def start_pretrained(plan: Plan, network: nn.Layer) -> None:
    """Load `student.pretrained` into a network.

    Where the weights have another number of classes, only the last layer stays fresh.
    """
    if plan.scope == "smoke":
        note(f"student.pretrained {plan.student.pretrained}: fresh weights, this is a smoke run")
        return
    weights.load_into(network, pretrained_file(plan), fresh_head=True)
