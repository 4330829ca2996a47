"""Load the weights that a student starts from. Another training made them: a published one, or one of a run."""

from pathlib import Path

import paddle

from ssld import models
from ssld.config import cards
from ssld.config.recipe import Network, Plan
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
    peers = {
        f"stages.{name}.peers.{peer}": block for name, one in plan.stages.items() for peer, block in one.peers.items()
    }
    for where, block in {"student": plan.student, **peers}.items():
        if block.pretrained and plan.scope != "smoke":
            pretrained_file(block, where)
    for name, stage in plan.stages.items():
        if stage.optim.stage_lr:
            for network in (plan.network_of(stage.network), *stage.peers.values()):
                if network.arch is None:
                    what = "the network has no stages that are known here"
                    raise RecipeError(f"stages.{name}.optim.stage_lr: {what}; leave it out")
                with paddle.LazyGuard():
                    optim.check_stages(stage.optim, models.create(network.arch), f"stages.{name}")


def pretrained_file(block: Network, where: str) -> Path:
    """Return the file of the weights that a network starts from, its key `pretrained`.

    A value with a slash or a dot in it is a path. Any other value is the name of a training whose published file is in
    the weights folder. `where` is the path of its block. Raises as `check_starts` does.
    """
    source = str(block.pretrained)
    if "/" in source or "." in source:
        if not Path(source).exists():  # a folder of version 1.x is accepted
            raise RunError(f"{where}.pretrained: no file {source}; name one, or a published training")
        return Path(source)
    arch = cards.find_weights(source)[0]
    if arch != block.arch:
        role = "the student" if where == "student" else "this network"
        what = f"{source} is of {arch}, {role} is {block.title}"
        raise RecipeError(f"{where}.pretrained: {what}; name another")
    return published_file(source, f"{where}.pretrained")


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


def start_file(plan: Plan, block: Network, where: str) -> Path | None:
    """Return the file of the weights that the block of a network names, or None in a smoke run, which has fresh ones.

    `where` is the path of the block.
    """
    if plan.scope == "smoke":
        note(f"{where}.pretrained {block.pretrained}: fresh weights, this is a smoke run")
        return None
    return pretrained_file(block, where)
