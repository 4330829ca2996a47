"""A stage in int8: which layers are int8 is chosen before its first step, and kept in `quantize.json`."""

from pathlib import Path

import numpy as np
from paddle import nn

from ssld import quantize
from ssld.config.recipe import Plan
from ssld.distill.checkpoint import disk_errors, write_json
from ssld.distill.setup import QUANTIZE, Teacher, crops, noted, stage_folder, trained_network
from ssld.errors import RunError
from ssld.progress import progress
from ssld.runtime import Runtime, barrier


def check_installed(plan: Plan) -> None:
    """RunError, naming the stage, where one is quantised and PaddleSlim is not there."""
    for name, stage in plan.stages.items():
        if stage.quantize and not quantize.available():
            raise RunError(f"stage {name}: quantize {quantize.MISSING}")


def in_int8(plan: Plan, name: str, network: nn.Layer, out: Path, root: Path, here: Runtime) -> list[np.ndarray]:
    """Change the float network that a stage starts from, in place, to one that rounds, with ranges.

    Returns the images that its batch norms see after the last step.
    """
    wanted, file = plan.stages[name].quantize, stage_folder(plan, name, out) / QUANTIZE
    assert wanted is not None
    every = list(quantize.layers(network))
    if wanted.keep >= len(every):
        raise RunError(f"stage {name}: quantize.keep: {wanted.keep} of {len(every)} layers; leave some for int8")
    batches = crops(plan, name, wanted.images, root, here)
    if here.main and not file.is_file():
        measured = rank_layers(network, batches, name) if wanted.keep else {}
        kept = quantize.most_sensitive(measured, wanted.keep)
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"layers": every, "kept_float": kept, "sensitivity": measured})
    barrier(here)
    quantize.quantise(network, noted(file.parent)["kept_float"])
    quantize.calibrate(network, batches)
    return crops(plan, name, wanted.recalibrate, root, here) if wanted.recalibrate else []


def rank_layers(network: nn.Layer, batches: list[np.ndarray], name: str) -> dict[str, float]:
    with progress(len(quantize.layers(network)), f"{name}: sensitivity", unit="layers") as bar:
        return quantize.sensitivities(network, batches, bar.update)


def float_teacher(plan: Plan, name: str, out: Path) -> Teacher:
    """The float network that a quantised stage starts from, as its teacher."""
    start = plan.stages[name].init
    data = plan.stages[start].data
    return Teacher(trained_network(plan, start, out), "running", "eager", data.size, data.mean, data.std)
