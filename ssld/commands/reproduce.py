"""Measure a published training, by its weights or by its recipe, and put it into the ledger: `ssld reproduce`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ssld.config import baseline, cards, coverage
from ssld.config.cards import Input, Model
from ssld.config.keys import plain
from ssld.errors import RecipeError, RunError, UsageError, WeightsError
from ssld.evaluation import labelled_list, scored_list, scores_on, standard_error
from ssld.files import check_writable, json_digest, sha256
from ssld.plans import load_plan
from ssld.processes import RunOptions
from ssld.progress import note
from ssld.published import fetch_published, network_with_weights
from ssld.seeds import SeedRuns, run_seeds
from ssld.spec.choices import Device, WandbMode
from ssld.spec.revisions import Flavour

if TYPE_CHECKING:
    from ssld.data import FileList
    from ssld.runtime import Runtime

PUBLISHED = "published"  # stands for the weights file that the card names
# These options belong to one of the two ways alone; each value says that the option was not given.
OF_WEIGHTS: dict[str, object] = {"data": None, "flavour": None, "mirror": None, "offline": False}
OF_TRAINING: dict[str, object] = {"overrides": [], "smoke": False, "out": None, "ranks": "1", "seeds": 1}
OF_TRAINING |= {"wandb": "offline", "wandb_tags": (), "tensorboard": False}


class Trained(SeedRuns):
    """Name the page over the seeds, the folders of their runs, and the page of published and measured numbers."""

    ledger: str


class Evaluated(TypedDict):
    """Hold a row for each input of the card, and the page of published and measured numbers."""

    rows: list[dict[str, Any]]
    ledger: str


def reproduce(
    *,
    name: str,
    weights: str,
    train: bool,
    data: str | None,
    flavour: Flavour | None,
    mirror: str | None,
    offline: bool,
    overrides: Sequence[str],
    smoke: bool,
    out: str | None,
    ranks: str,
    device: Device,
    wandb: WandbMode,
    wandb_project: str,
    wandb_tags: tuple[str, ...],
    tensorboard: bool,
    seeds: int,
    experiments: str,
) -> Trained | Evaluated:
    """Evaluate the weights of a published training on every input of its card, or with `train` run its recipe.

    `weights` is a file, or PUBLISHED: then the file that the card names is fetched, from `mirror` if there is one. Both
    ways record their results in `experiments` and write its ledger anew. What was measured before of the same weights
    on the same list is not measured again. It raises UsageError for an option of the other way, RecipeError for an
    unknown name and for a card that names no recipe, WeightsError for weights that cannot be had, DataError for a list
    that cannot be used, RunError where a seed does not finish.
    """
    values: dict[str, object] = {
        **{"data": data, "flavour": flavour, "mirror": mirror, "offline": offline},
        **{"overrides": list(overrides), "smoke": smoke, "out": out, "ranks": ranks, "seeds": seeds},
        **{"wandb": wandb, "wandb_tags": wandb_tags, "tensorboard": tensorboard},
    }
    _check_way(values, train)
    if not train:
        return _evaluate(name, weights, data, flavour, mirror, offline, device, Path(experiments))
    options = RunOptions(
        ranks=ranks,
        device=device,
        wandb=wandb,
        wandb_project=wandb_project,
        wandb_tags=wandb_tags,
        tensorboard=tensorboard,
        smoke=smoke,
    )
    return _train(name, overrides, seeds, out, experiments, options)


def _check_way(values: dict[str, object], train: bool) -> None:
    """Raise UsageError for an option of the way that is not taken."""
    for option, absent in (OF_WEIGHTS if train else OF_TRAINING).items():
        if values[option] != absent:
            typed = "key.path=value" if option == "overrides" else f"--{option.replace('_', '-')}"
            owner = "an evaluation of weights; leave --train out" if train else "--train; add it"
            raise UsageError(f"reproduce: {typed} belongs to {owner}, or leave {typed} out")


def _train(
    name: str, overrides: Sequence[str], seeds: int, out: str | None, experiments: str, options: RunOptions
) -> Trained:
    """Run the recipe that a card names, as `ssld run --seeds` does, one seed too, then write the ledger anew.

    It raises RecipeError where the card names none.
    """
    from ssld.report import published_and_measured

    recipe = cards.find_model(name).claim.recipe
    if recipe is None:
        what = "its card names no recipe; `ssld list recipes` prints those there are"
        raise RecipeError(f"{name}: {what}, and without --train its published weights are evaluated")
    plan = load_plan(recipe, overrides, smoke=options.smoke)
    done = run_seeds(plan, recipe, overrides, seeds=seeds, out=out, experiments=experiments, options=options)
    return {**done, "ledger": str(published_and_measured.write(Path(done["report"]).parent))}


def _evaluate(
    name: str,
    weights: str,
    data: str | None,
    flavour: Flavour | None,
    mirror: str | None,
    offline: bool,
    device: Device,
    experiments: Path,
) -> Evaluated:
    """Evaluate weights on every input of the model's card, record what is new, then write the ledger anew."""
    from ssld.data import refuse_scoring
    from ssld.report import ledger, published_and_measured
    from ssld.runtime import start

    model = cards.find_model(name)
    check_writable(experiments, RunError, "choose another --experiments")
    listed, runtime = labelled_list(data), start(device)
    refuse_scoring(listed)  # its number would not be that of the claim
    if weights == PUBLISHED:
        fetched = fetch_published(name, flavour, mirror, offline)
        file, url = Path(fetched["file"]), fetched["url"]
    else:
        file, url = Path(weights), None
    about = {"published": weights == PUBLISHED, "file": file.name, "url": url}
    network, shown = network_with_weights(model.name, file)
    if shown not in model.protocols:
        what = f"was trained for other images than the claim of {model.name} is of"
        raise WeightsError(f"{file}: {what}; `ssld eval {model.name} --weights {file}` evaluates it")
    files, _ = scored_list(listed, network.num_classes)
    rows = []
    for result in _evaluations(model, network, about, listed, files, experiments, runtime):
        result_file = ledger.record(result, experiments)
        rows.append(_row(model, result) | {"result": str(result_file)})
    return {"rows": rows, "ledger": str(published_and_measured.write(experiments))}


def _evaluations(
    model: Model,
    network: Any,
    weights: dict[str, Any],
    listed: Path,
    files: FileList,
    experiments: Path,
    runtime: Runtime,
) -> Iterator[dict[str, Any]]:
    """Yield the result on each input of the card: the recorded one, else a new one."""
    from ssld.distill.teacher_weights import weights_digest
    from ssld.report import ledger

    named = {"list": sha256(listed), "weights": weights_digest(network), "revision": network.revision}
    for protocol in model.protocols:
        digest = json_digest({"model": model.name, **named, "input": plain(protocol)})
        file = ledger.result_file(experiments, model.name, digest)
        if file.is_file():
            note(f"{model.name} at {protocol.size}: measured before, {file}")
            yield ledger.load(file)
            continue
        loaded = {**weights, "digest": named["weights"], "revision": named["revision"]}
        about: dict[str, Any] = {"weights": loaded, "input": plain(protocol)}
        about |= {"data": {"list": listed.name, "sha256": named["list"], "images": len(files)}}
        yield _evaluation(model, digest, about, network, listed, files, protocol, runtime)


def _evaluation(
    model: Model,
    digest: str,
    about: dict[str, Any],
    network: Any,
    listed: Path,
    files: FileList,
    protocol: Input,
    runtime: Runtime,
) -> dict[str, Any]:
    """Measure a result as it is recorded: of weights, not of a run."""
    from ssld.data import Scoring
    from ssld.runtime import hardware, versions

    began = time.monotonic()
    scores = scores_on(network, files, Scoring(), protocol, runtime)
    return {
        "kind": "evaluation",
        "model": model.name,
        "digest": digest,
        "scope": _covered(files, baseline.class_lines(listed)),
        "complete": True,
        "published_top1": model.protocols[protocol],
        **scores,
        **about,
        "versions": versions(),
        "hardware": hardware(),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def _covered(files: FileList, classes: Sequence[str] = ()) -> coverage.Scope:
    """Return full for ImageNet's validation set, as far as `baseline.other_images` can tell it, else reduced."""
    return "reduced" if baseline.other_images(files.paths, files.labels.tolist(), classes) else "full"


def _row(model: Model, result: dict[str, Any]) -> dict[str, Any]:
    """Return what is printed of an evaluation.

    `difference` from the published top-1, in points, and the `standard_error` of that on so many images only where
    these are the whole validation set: a number of other images, or of some of them, is another number.
    """
    claim, images = result["published_top1"], result["data"]["images"]
    compared = claim if result["scope"] == "full" else None
    return {
        "model": model.name,
        "input": result["input"]["size"],
        "images": images,
        "published": claim,
        "measured": result["top1"],
        "difference": None if compared is None else round(result["top1"] - compared, 3),
        "standard_error": None if compared is None else standard_error(compared, images),
        "scope": result["scope"],
        "digest": result["digest"][:12],
    }
