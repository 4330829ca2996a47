"""Export a finished run's student, or a model of the zoo with weights, as files that passed the gate: `ssld export`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from ssld import api
from ssld.api import ExportedFile
from ssld.config import cards, coverage, parse
from ssld.config.delivery import Export
from ssld.config.keys import plain
from ssld.config.recipe import Data
from ssld.errors import DeployError
from ssld.evaluation import labelled_list
from ssld.progress import note
from ssld.published import network_with_weights
from ssld.spec.formats import FormatName, Precision


def export(
    *,
    target: str,
    weights: str | None,
    data: str | None,
    out: str | None,
    format: Sequence[FormatName] | None,
    opset: int | None,
    with_preprocess: bool | None,
    with_softmax: bool | None,
    dynamic_batch: bool | None,
    precision: Precision | None,
    gate: Sequence[str] | None,
) -> dict[str, ExportedFile]:
    """Export the student of the run folder `target`, or with `weights` the model of that name, through the gate.

    The files are written to `out` (by default RUN/export, of a model exports/MODEL). An option that is None is as the
    run's recipe has it, for a model as a recipe's default. `gate` holds KEY=VALUE for the keys of the recipe's block
    `export` after `gate_`. `data` is the list of labelled images that check a model. It returns, for each format, what
    the gate says. It raises DeployError where a format differs from the network, for a model without weights (fresh
    ones are worth nothing to anybody) and for options that do not go together, RunError for a folder without a finished
    run, RecipeError for a key, value or name that is none.
    """
    if weights is None and target in cards.models() and not Path(target).exists():
        fetched = f"`ssld weights fetch {target}` gets the published ones"
        raise DeployError(f"{target}: a model has no weights of its own; give --weights FILE ({fetched})")
    if weights is None and data:
        raise DeployError("export: --data belongs to a model with --weights; a run has its own validation list")
    changes = Changes(
        formats=None if format is None else tuple(format),
        opset=opset,
        preprocess=with_preprocess,
        softmax=with_softmax,
        dynamic_batch=dynamic_batch,
        plan_precision=precision,
        gate=tuple(gate or ()),
    )
    if weights is None:
        folder = Path(out) if out else Path(target) / "export"
        results = _export_run(Path(target), folder, changes)
    else:
        folder = Path(out) if out else Path("exports") / target
        results = _export_weights(target, Path(weights), data, folder, changes)
    if "paddlelite" in results:
        _tell_phone(folder)
    return results


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Hold what a caller changes of a recipe's `export` block; None leaves what the block says."""

    formats: tuple[FormatName, ...] | None = None
    opset: int | None = None
    preprocess: bool | None = None
    softmax: bool | None = None
    dynamic_batch: bool | None = None
    plan_precision: Precision | None = None
    gate: tuple[str, ...] = ()

    def of(self, export: Export) -> Export:
        """Return the block with these changes. It raises RecipeError for a key or value that does not exist."""
        block = plain(export)
        for text in self.gate:
            parse.override({"export": block}, {"export": plain(export)}, f"export.gate_{text}")
        if self.plan_precision and "tensorrt" not in (self.formats or export.formats):
            what = "--precision is that of a TensorRT plan; add --format tensorrt, or name fp16 or int8"
            raise DeployError(f"export: {what}")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "gate"}
        changes = {name: value for name, value in values.items() if value is not None}
        return parse.build(Export, block | changes, "export")


def _export_run(run: Path, folder: Path, changes: Changes) -> dict[str, ExportedFile]:
    """Export a finished run's student anew, through the gate."""
    finished = api.load_run(run, device="cpu")
    return api.export(finished, folder, options=plain(changes.of(finished.plan.export)))


def _export_weights(name: str, file: Path, data: str | None, folder: Path, changes: Changes) -> dict[str, ExportedFile]:
    """Export a model of the zoo with the weights of a file, through the gate on the labelled images of `data`.

    int8 takes its ranges from an even selection of the same images.
    """
    export, card, listed = changes.of(Export()), cards.find_model(name), labelled_list(data)
    from ssld.data import class_names, read_list
    from ssld.distill.images import check_labelled
    from ssld.distill.teacher_weights import weights_digest
    from ssld.result import release_network
    from ssld.runtime import start

    start("cpu")
    network, spec = network_with_weights(name, file)
    # The published numbers are those of ImageNet's classes.
    published = {"top1": card.top1, "top5": card.top5, "source": f"published: {card.source}"}
    files = read_list(listed, listed.parent, network.num_classes)
    check_labelled(files, "every image of the gate needs one")
    shown = {("eval_resize" if key == "resize" else key): value for key, value in vars(spec).items()}
    look = Data(train=(str(listed),), val=str(listed), eval_batch=32, **shown)
    facts = {
        "name": name,
        "arch": network.arch,
        "classes": network.num_classes,
        "class_names": class_names(listed, network.num_classes) or None,
        "accuracy": published if network.num_classes == coverage.CLASSES else None,
        "digest": weights_digest(network),
        "weights": file.name,
    }
    return cast("dict[str, ExportedFile]", release_network(network, folder, look, files, export, facts))


def _tell_phone(folder: Path) -> None:
    """Say how to measure a file for phones: this machine cannot do it."""
    from ssld.deploy import contract
    from ssld.deploy.engines.paddlelite import phone_command

    note(f"on a phone: {phone_command(folder / 'model.nb', contract.read(folder))}")
