"""`ssld reproduce`: a published training measured here, by its weights or by its recipe, and put into the ledger."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssld import launch
from ssld.config import baseline, cards, scope
from ssld.config.cards import Input, Model
from ssld.errors import RecipeError
from ssld.files import json_digest, sha256
from ssld.listing import load_plan
from ssld.progress import note
from ssld.tools import labelled_list, published_file, scored_list, scores_on, standard_error, with_weights

PUBLISHED = "published"  # --weights: those that the card names


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Run the recipe that a card names, as `ssld run --seeds` does, one seed too, then write the ledger anew.

    Returns report (the page over seeds), runs (their folders), ledger. Raises RecipeError where the card names none.
    """
    from ssld.report import claims

    recipe = cards.find_model(args.name).claim.recipe
    if recipe is None:
        what = "its card names no recipe; `ssld list recipes` prints those there are"
        raise RecipeError(f"{args.name}: {what}, and without --train its published weights are evaluated")
    plan = load_plan(recipe, args.overrides, smoke=args.smoke)
    done = launch.seeds(plan, argparse.Namespace(**vars(args) | {"recipe": recipe}))
    return {**done, "ledger": str(claims.write(Path(done["report"]).parent))}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate weights on every input of the model's card, record what is new, then write the ledger anew.

    Returns rows, one an input, and ledger. What was measured before of the same weights on the same list is not
    measured again.
    """
    from ssld.data import refuse_scoring
    from ssld.report import claims, ledger
    from ssld.runtime import start

    model, experiments = cards.find_model(args.name), Path(args.experiments)
    listed, here = labelled_list(args.data), start(args.device)
    refuse_scoring(listed)  # it would measure another number than the claim is
    file, about = weights_of(args)
    network = with_weights(model.name, file)
    files, _ = scored_list(listed, network.num_classes)
    rows = []
    for result in evaluations(model, network, about, listed, files, experiments, here):
        kept = ledger.record(result, experiments)
        rows.append(row_of(model, result) | {"result": str(kept)})
    return {"rows": rows, "ledger": str(claims.write(experiments))}


def weights_of(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The weights file, fetched where the card's are asked for, and what the result says of it."""
    if args.weights != PUBLISHED:
        file = Path(args.weights)
        return file, {"published": False, "file": file.name, "url": None}
    fetched = published_file(args.name, args.flavour, args.mirror, args.offline)
    return Path(fetched["file"]), {"published": True, "file": Path(fetched["file"]).name, "url": fetched["url"]}


def evaluations(
    model: Model, network: Any, weights: dict[str, Any], listed: Path, files: Any, experiments: Path, here: Any
) -> Iterator[dict[str, Any]]:
    """The result on each input of the card: the recorded one, else a new one."""
    from ssld.distill.labelling import weights_digest
    from ssld.report import ledger

    named = {"list": sha256(listed), "weights": weights_digest(network), "revision": network.revision}
    for given in model.protocols:
        digest = json_digest({"model": model.name, **named, "input": shape(given)})
        file = ledger.result_file(experiments, model.name, digest)
        if file.is_file():
            note(f"{model.name} at {given.size}: measured before, {file}")
            yield ledger.load(file)
            continue
        held = {**weights, "digest": named["weights"], "revision": named["revision"]}
        about: dict[str, Any] = {"weights": held, "input": shape(given)}
        about |= {"data": {"list": listed.name, "sha256": named["list"], "images": len(files)}}
        yield evaluation(model, digest, about, network, listed, files, given, here)


def evaluation(
    model: Model, digest: str, about: dict[str, Any], network: Any, listed: Path, files: Any, given: Input, here: Any
) -> dict[str, Any]:
    """A result as it is recorded: of weights, not of a run."""
    from ssld.data import Scoring
    from ssld.runtime import hardware, versions

    began = time.monotonic()
    scores = scores_on(network, files, Scoring(), given, here)
    return {
        "kind": "evaluation",
        "model": model.name,
        "digest": digest,
        "scope": covered(files, baseline.class_lines(listed)),
        "complete": True,
        "published_top1": model.protocols[given],
        **scores,
        **about,
        "versions": versions(),
        "hardware": hardware(),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def covered(files: Any, classes: Sequence[str] = ()) -> scope.Scope:
    """Full where the images are ImageNet's validation set as far as `baseline.other_images` can tell, else reduced."""
    return "reduced" if baseline.other_images(files.paths, files.labels.tolist(), classes) else "full"


def shape(given: Input) -> dict[str, Any]:
    """An input as JSON has it."""
    return {**asdict(given), "mean": list(given.mean), "std": list(given.std), "interpolation": "linear"}


def row_of(model: Model, result: dict[str, Any]) -> dict[str, Any]:
    """What is printed of an evaluation.

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
