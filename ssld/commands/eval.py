"""Evaluate the student of a finished run, or weights of a published model, on labelled images: `ssld eval`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ssld.config import baseline, cards
from ssld.config.code import is_code
from ssld.data.lists import compare_classes
from ssld.evaluation import labelled_list, scored_list, scores_of, scores_on, standard_error
from ssld.progress import note
from ssld.published import network_with_weights
from ssld.spec.choices import Device


def eval_(*, target: str, weights: str | None, data: str | None, device: Device) -> dict[str, Any]:
    """Evaluate a student, or with `weights` a model of the zoo, on the images of a list.

    `target` is the folder of a finished run, and with `weights` the name of a model. `data` is a list file, or a folder
    that has one, see `labelled_list`. By default it is the recipe's validation list, for a model that of ImageNet. It
    returns what `distill.evaluate.measure` says, with the names of what was measured before it, and for a model its
    published top-1 behind it. It raises RunError for a folder without a finished run, RecipeError for an unknown model,
    DataError for a list that cannot be used, WeightsError for weights that do not fit.
    """
    if weights:
        return _evaluate_model(target, Path(weights), data, device)
    return _evaluate_run(Path(target), data, device)


def _evaluate_run(folder: Path, data: str | None, device: Device) -> dict[str, Any]:
    """Measure a finished run's student on its validation list, or on another labelled list.

    The result has the agreement where the run has trained its teacher.
    """
    from ssld.data import Scoring
    from ssld.distill.images import centre_crops, check_labelled, images_of
    from ssld.distill.networks import trained_network
    from ssld.distill.runs import Run
    from ssld.runtime import start

    runtime = start(device)
    run = Run.of_folder(folder, runtime)
    plan, val = run.plan, run.last.settings.data.val
    if data is None and is_code(val):
        listed: str | Path = val
        images, scoring = images_of(run, val), Scoring()
        check_labelled(images, "every image needs one here")
    else:
        listed = labelled_list(data) if data else run.data_root / val
        images, scoring = scored_list(listed, plan.classes)
        for name in (*run.last.settings.data.train, val):
            if not is_code(name):
                compare_classes(listed, run.data_root / name)
    teachers = list(plan.teachers_of(plan.compared).values()) if plan.compared else []
    stages = {"student": run.last}
    if len(teachers) == 1 and teachers[0].stage:
        teaching = run.stage(teachers[0].stage)
        if teaching.is_done:
            stages["teacher"] = teaching
        else:
            note(f"{teaching.folder}: this stage trained the teacher and is not there; no agreement with it is counted")
    networks = {}
    for kind, stage in stages.items():
        look = stage.settings.data
        look = replace(look, eval_size=look.crop, eval_resize=look.crop if scoring.cropped else look.resize)
        networks[kind] = (
            trained_network(stage),
            lambda part, look=look: centre_crops(look, part, runtime),
        )
    facts = {"run": str(folder), "student": plan.student.title, "data": str(listed), "images": len(images)}
    return facts | scores_of(networks, images, scoring, plan.classes)


def _evaluate_model(name: str, file: Path, data: str | None, device: Device) -> dict[str, Any]:
    """Measure published weights, or others for the same name, and compare them with what the card claims.

    Images are prepared as the weights file says, and where it says nothing as the card says. `data`: see
    `labelled_list`. `published_top1` and `difference` are in percent and points; `standard_error` is that of the claim
    on so many images, in points. All three are left out where a scoring beside the list asks for another number than
    the claim is, and where the images are not ImageNet's whole validation set, which the claim is of: `not_compared`
    says why.
    """
    from ssld.runtime import start

    card, runtime = cards.find_model(name), start(device)
    listed = labelled_list(data)
    network, shown = network_with_weights(name, file)
    files, scoring = scored_list(listed, network.num_classes)
    scores = scores_on(network, files, scoring, shown, runtime)
    facts = {"model": name, "weights": str(file), "data": str(listed), "images": len(files), **scores}
    if not scoring.plain:
        return facts
    if reason := baseline.other_images(files.paths, files.labels.tolist(), baseline.class_lines(listed)):
        return facts | {"not_compared": reason}
    return facts | {
        "published_top1": card.top1,
        "difference": round(scores["top1"] - card.top1, 3),
        "standard_error": standard_error(card.top1, len(files)),
    }
