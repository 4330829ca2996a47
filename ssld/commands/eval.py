"""`ssld eval`: the student of a finished run, or weights of a published model, on labelled images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ssld.config import baseline, cards
from ssld.data.lists import compare_classes
from ssld.evaluation import labelled_list, scored_list, scores_of, scores_on, standard_error
from ssld.plans import open_run
from ssld.published import network_with_weights
from ssld.spec.choices import Device


def eval_(*, target: str, weights: str | None, data: str | None, device: Device) -> dict[str, Any]:
    """Evaluate a student, or with `weights` a model of the zoo, on the images of a list.

    `target` is the folder of a finished run, and with `weights` the name of a model. `data` is a list file; for a model
    also a folder that has one. By default it is the recipe's validation list, for a model that of ImageNet. Returns
    what `distill.evaluate.measure` says, with the names of what was measured before it, and for a model its published
    top-1 behind it. Raises RunError for a folder without a finished run, RecipeError for an unknown model, DataError
    for a list that cannot be used, WeightsError for weights that do not fit.
    """
    if weights:
        return _evaluate_model(target, Path(weights), data, device)
    return _evaluate_run(Path(target), data, device)


def _evaluate_run(folder: Path, data: str | None, device: Device) -> dict[str, Any]:
    """What `measure` says of a finished run's student on its validation list, or on another labelled list; with the
    agreement where the run has trained its teacher."""
    plan, root = open_run(folder)
    from ssld.distill.setup import centre_crops, stage_folder, trained_network
    from ssld.runtime import start

    runtime, last = start(device), list(plan.stages)[-1]
    listed = Path(data) if data else root / plan.stages[last].data.val
    files, scoring = scored_list(listed, plan.classes)
    for name in (*plan.stages[last].data.train, plan.stages[last].data.val):
        compare_classes(listed, root / name)
    stages = {"student": last}
    if plan.teacher and (trains := plan.teacher.stage) and stage_folder(plan, trains, folder).is_dir():
        stages["teacher"] = trains
    networks = {}
    for kind, stage in stages.items():
        given = plan.stages[stage].data
        given = replace(given, eval_size=given.crop, eval_resize=given.crop if scoring.cropped else given.resize)
        networks[kind] = (
            trained_network(plan, stage, folder),
            lambda part, given=given: centre_crops(given, part, runtime),
        )
    about = {"run": str(folder), "student": plan.student.arch, "data": str(listed), "images": len(files)}
    return about | scores_of(networks, files, scoring, plan.classes)


def _evaluate_model(name: str, file: Path, data: str | None, device: Device) -> dict[str, Any]:
    """What `measure` says of published weights, or of others for the same name, beside what its card claims.

    Images are prepared as the card says. `data`: see `labelled_list`. `published_top1` and `difference` are in percent
    and points; `standard_error` is that of the claim on so many images, in points. All three are left out where a
    scoring beside the list asks for another number than the claim is, and where the images are not ImageNet's whole
    validation set, which the claim is of: `not_compared` says why.
    """
    from ssld.runtime import start

    card, runtime = cards.find_model(name), start(device)
    listed = labelled_list(data)
    network = network_with_weights(name, file)
    files, scoring = scored_list(listed, network.num_classes)
    scores = scores_on(network, files, scoring, card.input, runtime)
    about = {"model": name, "weights": str(file), "data": str(listed), "images": len(files), **scores}
    if not scoring.plain:
        return about
    if reason := baseline.other_images(files.paths, files.labels.tolist(), baseline.class_lines(listed)):
        return about | {"not_compared": reason}
    return about | {
        "published_top1": card.top1,
        "difference": round(scores["top1"] - card.top1, 3),
        "standard_error": standard_error(card.top1, len(files)),
    }
