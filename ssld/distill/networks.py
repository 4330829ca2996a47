"""Make the networks of a run: fresh ones, those that a stage starts from, and those that a finished stage made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import paddle
from paddle import nn

from ssld import models, quantize, weights
from ssld.config import cards, code
from ssld.config.recipe import Data, Head, Network, Plan
from ssld.config.run_folder import AGAIN
from ssld.config.teachers import Teacher
from ssld.distill.checkpoint import disk_errors, write_json
from ssld.distill.pretrained import start_file
from ssld.distill.runs import RECORD, Int8Notes, Run, StageRun, record_of
from ssld.distill.teacher_weights import save_trained
from ssld.errors import RecipeError, RunError, SsldError
from ssld.files import json_digest, read_json, sha256
from ssld.losses.layers.regressor import Bottleneck
from ssld.models.own import create_own
from ssld.models.taps import called
from ssld.runtime import seed_networks

QUANTIZE = "quantize.json"
"""This file in the folder of a quantised stage lists its layers, and which of them stay float.

It is written before the first step.
"""


def build(plan: Plan, role: str, size: int) -> nn.Layer:
    """Build a network of the plan with fresh weights, which are the same for every stage of a seed.

    `role` is `student` or the name of a teacher, and `size` is the side of the images in pixels. A teacher from
    elsewhere (a run, a foreign file) cannot be built. The `arch` of a network of one's own ends with `version_of` it,
    such as Tiny@1a2b3c4d, because two contents of one file are two architectures.
    """
    return _build_block(plan, plan.network_of(role), role, size, ("init", role))


def build_peer(stage: StageRun, name: str, size: int, pretrained: Path | None = None) -> nn.Layer:
    """Build a peer of a stage with the weights of a file, or fresh ones that its name and the seed of the run give.

    So two peers of one architecture begin with different weights. The names of the parameters begin with that of the
    peer, because networks of one architecture give theirs the same names, by which the optimiser knows them.
    """
    block, seed = stage.settings.peers[name], ("init", "peer", name)
    network = _build_block(stage.plan, block, f"peer {name}", size, seed, pretrained)
    for parameter in network.parameters():
        parameter.name = f"{name}.{parameter.name}"
    return network


def _build_block(
    plan: Plan, block: Network | Teacher, role: str, size: int, seed: tuple[str, ...], pretrained: Path | None = None
) -> nn.Layer:
    """Build the network that a block of the plan describes, with fresh weights, which the seed of the plan and `seed`
    give, or with those of the file `pretrained`, in which its own classifier and not another end is.
    """
    network = _plain(plan, block, role, size, seed)
    if pretrained is not None:
        weights.load_into(network, pretrained, fresh_head=True)
    head = getattr(block, "head", None)
    if head is None:
        return network
    assert isinstance(network, models.Classifier), "a check lets networks of the zoo alone have another end"
    if head.kind == "distillation":
        models.add_distillation_head(network, cast(models.Classifier, _plain(plan, block, role, size, (*seed, "head"))))
    else:
        _end_in_teacher(plan, block, network, size, seed)
    return network


def _end_in_teacher(
    plan: Plan, block: Network | Teacher, network: models.Classifier, size: int, seed: tuple[str, ...]
) -> None:
    """Let a network, in place, end in the end of its teacher, which has fresh weights.

    Where it is trained on images whose map is larger than the teacher's, its maps are averaged to that size first, for
    images of every size: what is exported cannot ask for a size.
    """
    head: Head = getattr(block, "head")  # noqa: B009  # a teacher has none
    name = plan.head_teacher(head)
    teacher = build(plan, _role_of(plan, name), of_teacher := _size_of(plan, name))
    if not isinstance(teacher, models.Classifier):
        what = f"{called(teacher)} is a network of your own, and no one knows where it ends"
        raise RecipeError(f"student.head: {what}; name a teacher of the zoo")
    stages = (of for of in plan.stages.values() if block in (plan.network_of(of.network), *of.peers.values()))
    trained_on = next((of.data.size for of in stages), size)
    own, target = _map(network, trained_on), _map(teacher, of_teacher)
    seed_networks(plan.seed, *seed, "head")
    with paddle.utils.unique_name.guard(f"{network.arch}_head_"):
        projector = Bottleneck(own[0], max(1, target[0] // head.factor), target[0])
    models.add_teacher_head(network, projector, teacher, target[1] if own[1] > target[1] else None)
    try:
        _map(network, size)
    except Exception as error:  # that of a layer of Paddle: an end such as VGG's takes maps of one size alone
        what = f"the end of {called(teacher)} takes maps of {target[1]} pixels a side, those of {called(network)} have"
        raise RecipeError(f"student.head: {what} {own[1]}; choose another teacher, or larger images") from error


def _role_of(plan: Plan, name: str) -> str:
    """Return the role by which `build` makes the network of a teacher."""
    stage = plan.all_teachers[name].stage
    return plan.stages[stage].network if stage else name


def _size_of(plan: Plan, name: str) -> int:
    """Return the pixels of a side of the images that a teacher sees."""
    teacher = plan.all_teachers[name]
    if teacher.stage:
        return plan.stages[teacher.stage].data.size
    if plan.scope == "smoke":
        return plan.smoke.size
    given = cards.find_teacher(teacher.card).input if teacher.card else teacher.input
    assert given is not None, "a check asks for the input of a teacher without a card"
    return given.size


@paddle.no_grad()
def _map(network: nn.Layer, size: int) -> tuple[int, int]:
    """Return channels and pixels of a side of the last map of images of `size` pixels."""
    with models.evaluating(network):
        _, channels, _, side = models.outputs_of(network, paddle.zeros([1, 3, size, size]), {"map"})["map"].shape
    return channels, side


def _plain(plan: Plan, block: Network | Teacher, role: str, size: int, seed: tuple[str, ...]) -> nn.Layer:
    """Build the network that a block of the plan describes, which ends in its own classifier."""
    seed_networks(plan.seed, *seed)
    if block.code:
        maker, title = code.find(block.code, plan.code), block.code
        network: nn.Layer = create_own(
            maker, title, num_classes=plan.classes, in_size=size, options=block.options, taps=block.taps
        )
        _set_version(network, version_of(plan, block), title)
    else:
        network = models.create(architecture(plan, block, role), num_classes=plan.classes, in_size=size)
    for layer in network.sublayers() if block.bn_momentum is not None else ():
        if hasattr(layer, "_momentum"):
            layer._momentum = block.bn_momentum
    return network


def check_crop(network: nn.Layer, data: Data, where: str) -> None:
    """Check that a network which is trained on images of `data.size` pixels can be evaluated on those of `data.crop`.

    Raises RunError otherwise; `where` is the path of the stage.
    """
    if data.crop == data.size:
        return
    try:
        with models.evaluating(network), paddle.no_grad():
            network(paddle.zeros([1, 3, data.crop, data.crop]))
    except SsldError:
        raise
    except Exception as error:  # that of a layer of Paddle, or of a network of one's own
        what = f"{called(network)} is made for {data.size} pixels and takes none of {data.crop}"
        raise RunError(f"{where}.data.eval_size: {what}; give {data.size}, or another network") from error


def version_of(plan: Plan, block: Network | Teacher) -> str:
    """Return eight hexadecimal digits that name the content of a network of one's own.

    They cover its file, what that file imports from its folder, the name of the network in the file, and its options.
    """
    file, name = code.split(str(block.code))
    return json_digest([plan.code[file], name, block.options])[:8]


def _set_version(network: nn.Layer, version: str, title: str) -> None:
    try:
        network.arch = f"{network.arch}@{version}"
    except AttributeError:
        raise RecipeError(f"{title}: its attribute arch cannot be set; give it another name") from None


def architecture(plan: Plan, block: Network | Teacher, role: str) -> str:
    """Return the architecture of a block of the plan whose network is one of the zoo; `role` is its name in messages.

    Raises RunError for a network that is not built here.
    """
    if block.arch:
        return block.arch
    card = getattr(block, "card", None)
    if card is None:
        raise RunError(f"{plan.name}: no architecture is given for {role}; give arch, code or card")
    return cards.find_teacher(card).arch


def count(plan: Plan, block: Network | Teacher, size: int) -> tuple[int, int]:
    """Return (parameters, multiply-adds of an image of `size` pixels a side) of a network of the plan, made anew."""
    with paddle.utils.unique_name.guard():
        return models.count(_build_block(plan, block, block.title, size, ("init", "counted")), size)


def make_network(stage: StageRun) -> nn.Layer:
    """Make the network that a stage starts from.

    It has fresh weights, given weights, or the result of the stage that `init` names.
    """
    settings, plan = stage.settings, stage.plan
    if settings.init == "pretrained":
        given = start_file(plan, plan.student, "student")
        return _build_block(plan, plan.student, "student", settings.data.size, ("init", "student"), given)
    network = build(plan, settings.network, settings.data.size)
    if stage.start:
        weights.load_into(network, stage.start.weights_file())
    return network


def make_peers(stage: StageRun) -> dict[str, nn.Layer]:
    """Make the networks that train beside that of a stage, by name.

    A peer has the result of the peer of its name in the stage that `init` names, or else given or fresh weights.
    """
    peers = {}
    for name, block in stage.settings.peers.items():
        given = start_file(stage.plan, block, f"stages.{stage.name}.peers.{name}") if block.pretrained else None
        peers[name] = build_peer(stage, name, stage.settings.data.size, given)
        if stage.start and name in stage.start.settings.peers:
            weights.load_into(peers[name], stage.start.peers_weights(name))
    return peers


def trained_peer(stage: StageRun, name: str) -> nn.Layer:
    """Return the result of a peer of a finished stage in evaluation mode."""
    network = build_peer(stage, name, stage.settings.data.crop)
    weights.load_into(network, stage.peers_weights(name))
    network.eval()
    return network


def save_result(stage: StageRun, network: nn.Layer, record: Mapping[str, object]) -> None:
    """Write the weights that a stage ended with, and then its record, which finishes the stage.

    The record has the digest of the stage and the sha256 of the weights beside what is given. Raises RunError or
    WeightsError where the disk does not take them.
    """
    with disk_errors(stage.folder):
        save_trained(network, stage.model_file, stage.settings.data, stage.digest)
    named = {"digest": stage.digest, "sha256": sha256(stage.model_file)}
    write_json(stage.folder / RECORD, {**named, **record})


def trained_network(stage: StageRun) -> nn.Layer:
    """Return the result of a finished stage in evaluation mode.

    The result of a quantised stage is the network that rounds.
    """
    settings, file = stage.settings, stage.weights_file()
    network = build(stage.plan, settings.network, settings.data.crop)
    if settings.quantize:
        quantize.quantise(network, int8_layers(stage.folder)["kept_float"])
    weights.load_into(network, file)
    network.eval()
    return network


def student_of(run: Run) -> nn.Layer:
    """Return the student of a finished run in evaluation mode."""
    return trained_network(run.last)


def int8_layers(folder: Path) -> Int8Notes:
    """Return what the record of a finished stage in int8 says of its layers, or `noted` for one of an early version."""
    return record_of(folder).get("int8") or noted(folder)


def noted(folder: Path) -> Int8Notes:
    """Return what a stage in int8 noted before its first step. Raises RunError where the file is missing or damaged."""
    return cast(Int8Notes, read_json(folder / QUANTIZE, AGAIN))
