"""Prepare a stage in int8. Its int8 layers are chosen before its first step, and `quantize.json` records them."""

from pathlib import Path

from paddle import nn

from ssld import quantize
from ssld.config.recipe import Plan
from ssld.distill.arrays import Floats
from ssld.distill.checkpoint import disk_errors, write_json
from ssld.distill.images import crops
from ssld.distill.networks import QUANTIZE, noted
from ssld.distill.runs import Int8Notes, StageRun
from ssld.errors import RunError
from ssld.progress import note, progress
from ssld.runtime import barrier


def check_installed(plan: Plan) -> None:
    """Check that PaddleSlim is installed where a stage is quantised. Raises RunError, which names the stage."""
    for name, stage in plan.stages.items():
        if stage.quantize and not quantize.available():
            raise RunError(f"stage {name}: quantize {quantize.MISSING}")


def in_int8(stage: StageRun, network: nn.Layer) -> list[Floats]:
    """Change the float network that a stage starts from, in place, to one that rounds, with ranges.

    Returns the images that its batch norms see after the last step.
    """
    options, file, name = stage.settings.quantize, stage.folder / QUANTIZE, stage.name
    assert options is not None
    layers = list(quantize.layers(network))
    if options.keep >= len(layers):
        raise RunError(f"stage {name}: quantize.keep: {options.keep} of {len(layers)} layers; leave some for int8")
    batches = crops(stage, options.images)
    if stage.runtime.main and not _is_noted(file):
        sensitivity = rank_layers(network, batches, name) if options.keep else {}
        kept_float = quantize.most_sensitive(sensitivity, options.keep)
        notes: Int8Notes = {"layers": layers, "kept_float": kept_float, "sensitivity": sensitivity}
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, notes)
    barrier(stage.runtime)
    quantize.quantise(network, noted(file.parent)["kept_float"])
    quantize.calibrate(network, batches)
    return crops(stage, options.recalibrate) if options.recalibrate else []


def _is_noted(file: Path) -> bool:
    """Return whether the layers of the stage are chosen. A line says where the record of that is damaged."""
    try:
        return file.exists() and bool(noted(file.parent))
    except RunError as error:
        note(f"{str(error).partition(';')[0]}; the layers are chosen anew, from the same images")
        return False


def rank_layers(network: nn.Layer, batches: list[Floats], name: str) -> dict[str, float]:
    """Return the sensitivity of each layer of a network to its rounding, in nats, and show the progress."""
    with progress(len(quantize.layers(network)), f"{name}: sensitivity", unit="layers") as bar:
        return quantize.sensitivities(network, batches, bar.update)
