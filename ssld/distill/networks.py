"""Make the networks of a run: fresh ones, those that a stage starts from, and those that a finished stage made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import paddle
from paddle import nn

from ssld import models, quantize, weights
from ssld.config import cards, code
from ssld.config.recipe import Data, Network, Plan
from ssld.config.run_folder import AGAIN
from ssld.config.teachers import Teacher
from ssld.distill.checkpoint import disk_errors, write_json
from ssld.distill.pretrained import start_pretrained
from ssld.distill.runs import RECORD, Int8Notes, Run, StageRun, record_of
from ssld.distill.teacher_weights import save_trained
from ssld.errors import RecipeError, RunError, SsldError
from ssld.files import json_digest, read_json, sha256
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
    block = plan.network_of(role)
    seed_networks(plan.seed, "init", role)
    if block.code:
        maker, title = code.find(block.code, plan.code), block.code
        network: nn.Layer = create_own(
            maker, title, num_classes=plan.classes, in_size=size, options=block.options, taps=block.taps
        )
        _set_version(network, version_of(plan, block), title)
    else:
        network = models.create(architecture(plan, role), num_classes=plan.classes, in_size=size)
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


def architecture(plan: Plan, role: str) -> str:
    """Return the architecture of a network of the plan that is one of the zoo.

    Raises RunError for a network that is not built here.
    """
    block = plan.network_of(role)
    if block.arch:
        return block.arch
    card = getattr(block, "card", None)
    if card is None:
        raise RunError(f"{plan.name}: no architecture is given for {role}; give arch, code or card")
    return cards.find_teacher(card).arch


def make_network(stage: StageRun) -> nn.Layer:
    """Make the network that a stage starts from.

    It has fresh weights, given weights, or the result of the stage that `init` names.
    """
    settings = stage.settings
    network = build(stage.plan, settings.network, settings.data.size)
    if stage.start:
        weights.load_into(network, stage.start.weights_file())
    elif settings.init == "pretrained":
        start_pretrained(stage.plan, network)
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
