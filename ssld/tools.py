"""Commands on what a run left behind, on data and on weights: evaluate, prepare, mine, fetch."""

import argparse
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from ssld import create_model
from ssld.config import baseline, cards, recipe
from ssld.config.recipe import Plan
from ssld.errors import DataError, RunError
from ssld.paths import data_root, shelf, weights_root


def open_run(folder: Path) -> tuple[Plan, Path]:
    """The plan of a finished run and the folder that its list files are relative to. RunError when it is not one."""
    if not (folder / "plan.yaml").is_file():
        raise RunError(f"{folder}: no run here (no plan.yaml); give the folder that `ssld run` printed")
    if not (folder / "result.json").is_file():
        raise RunError(f"{folder}: this run is not finished; repeat its `ssld run` command")
    plan = recipe.of_run(folder)
    return plan, folder if plan.scope == "smoke" else data_root()


def evaluate_run(folder: Path, data: str | None, device: str) -> dict[str, Any]:
    """What `measure` says of a finished run's student on its validation list, or on another labelled list; with the
    agreement where the run has trained its teacher."""
    plan, root = open_run(folder)
    from dataclasses import replace

    from ssld.distill.setup import centre_crops, stage_folder, trained_network
    from ssld.runtime import start

    here, last = start(device), list(plan.stages)[-1]
    listed = Path(data) if data else root / plan.stages[last].data.val
    files, scoring = scored_list(listed, plan.classes)
    stages = {"student": last}
    if plan.teacher and (trains := plan.teacher.stage) and stage_folder(plan, trains, folder).is_dir():
        stages["teacher"] = trains
    networks = {}
    for kind, stage in stages.items():
        given = plan.stages[stage].data
        given = replace(given, eval_size=given.crop, eval_resize=given.crop if scoring.cropped else given.resize)
        networks[kind] = (
            trained_network(plan, stage, folder),
            lambda part, given=given: centre_crops(given, part, here),
        )
    about = {"run": str(folder), "student": plan.student.arch, "data": str(listed), "images": len(files)}
    return about | _measured(networks, files, scoring, plan.classes)


def evaluate_model(name: str, file: Path, data: str | None, device: str) -> dict[str, Any]:
    """What `measure` says of published weights, or of others for the same name, beside what its card claims.

    Images are prepared as the card says. `data`: see `labelled_list`. `published_top1` and `difference` are in percent
    and points; `standard_error` is that of the claim on so many images, in points. All three are left out where a
    scoring beside the list asks for another number than the claim is, and where the images are not ImageNet's whole
    validation set, which the claim is of: `not_compared` says why.
    """
    from ssld.runtime import start

    card, here = cards.find_model(name), start(device)
    listed = labelled_list(data)
    network = with_weights(name, file)
    files, scoring = scored_list(listed, network.num_classes)
    found = scores_on(network, files, scoring, card.input, here)
    about = {"model": name, "weights": str(file), "data": str(listed), "images": len(files), **found}
    if not scoring.plain:
        return about
    if reason := baseline.other_images(files.paths, files.labels.tolist(), baseline.class_lines(listed)):
        return about | {"not_compared": reason}
    return about | {
        "published_top1": card.top1,
        "difference": round(found["top1"] - card.top1, 3),
        "standard_error": standard_error(card.top1, len(files)),
    }


def scores_on(network: Any, files: Any, scoring: Any, given: cards.Input, here: Any) -> dict[str, Any]:
    """What `measure` says of a network on images that are prepared as `given` says."""
    from ssld.data import EvalLoader, FileList

    size, mean, std = given.size, given.mean, given.std
    resize = size if scoring.cropped else given.resize

    def crops(part: FileList) -> Any:
        return EvalLoader(part, size=size, resize=resize, batch=64, mean=mean, std=std, device=here.gpu)

    return _measured({"student": (network, crops)}, files, scoring, network.num_classes)


def standard_error(top1: float, images: int) -> float:
    """Of a claim of `top1` percent on so many images, in points."""
    claimed = top1 / 100
    return round(100 * math.sqrt(claimed * (1 - claimed) / images), 3)


def scored_list(listed: Path, classes: int) -> tuple[Any, Any]:
    """The images of a list, each with a label, and how they are scored."""
    from ssld.data import read_list, read_scoring
    from ssld.distill.setup import labelled

    files = read_list(listed, listed.parent, classes)
    labelled(files, "every image needs one here")
    return files, read_scoring(listed, files, classes)


def _measured(networks: dict[str, Any], files: Any, scoring: Any, classes: int) -> dict[str, Any]:
    """`networks`: student, and perhaps teacher -> (network, function from images to their loader)."""
    from ssld.distill.evaluate import measure, predict
    from ssld.progress import progress

    def ask(network: Any, crops: Any) -> Any:
        return lambda part, tell: predict(network, crops(part), tell)[0]

    with progress(len(files), "eval") as bar:
        return measure({kind: ask(*pair) for kind, pair in networks.items()}, files, scoring, classes, bar.update)


def with_weights(name: str, file: Path) -> Any:
    """A model of the zoo with the weights of a file in any format that is read here, as many classes as it notes."""
    from ssld import weights
    from ssld.distill.scorer import classes_of

    noted: Any = weights.metadata(file).get("revision")
    made_for = noted if file.suffix == ".safetensors" else cards.find_model(name).revision
    network = create_model(name, num_classes=classes_of(file), revision=made_for)
    weights.load_into(network, file, revision=network.revision)
    return network


def labelled_list(data: str | None) -> Path:
    """A list file; for a folder the one in it or beside it, as imagenet/val_list.txt for imagenet/val, the default.

    Relative paths are looked for in the current folder, then in the data folder. Raises DataError when there is none.
    """
    wanted = Path(data or "imagenet/val")
    for path in (wanted, data_root() / wanted):
        for file in (path, path / "val_list.txt", path.with_name(f"{path.name}_list.txt")):
            if file.is_file():
                return file
    raise DataError(f"{wanted}: no list file there; give one, or let `ssld data prepare imagenet` write it")


def prepare_data(args: argparse.Namespace) -> dict[str, Any]:
    """Write a data set as image files and list files; says so when it is already there."""
    from ssld.data import prepare
    from ssld.progress import progress

    names = ("source", "ground_truth", "imagenet", "labelled", "val_share", "seed")
    options = {name: getattr(args, name) for name in names} | {"allow_partial": args.allow_partial or None}
    out = Path(args.out) if args.out else data_root() / args.what
    with progress(0, f"prepare {args.what}") as bar:
        prepared = prepare(
            args.what, out, progress=bar.count, **{key: value for key, value in options.items() if value is not None}
        )
    return {"folder": str(out), **prepared}


def check_data(args: argparse.Namespace) -> dict[str, Any] | None:
    """Decode every image of a list; exit code 1 and one line an image when some cannot be read."""
    from ssld.data import check, read_list
    from ssld.progress import progress

    file = Path(args.what)
    files = read_list(file, args.root or file.parent, args.classes)
    with progress(len(files), "check", quiet=args.json) as bar:
        report = check(files, threads=args.threads, progress=bar.count)
    for path, reason in report.bad:
        sys.stderr.write(f"{path}: {reason}\n")
    if report.bad:
        raise DataError(f"{file}: {len(report.bad)} of {len(files)} images cannot be read; remove them from the list")
    return {"list": str(file), "images": len(files), "labelled": int((files.labels >= 0).sum()), "unreadable": 0}


def mine_images(args: argparse.Namespace) -> dict[str, Any]:
    """Choose images of a pool by a teacher's scores; returns what was written, and how many images went which way."""
    from ssld.config.pool import Mine
    from ssld.mining import mine_pool
    from ssld.runtime import start

    number, _, count = args.part.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise RunError(f"--part {args.part}: give I/N with I from 1 to N, e.g. 2/4")
    if args.threads is not None and args.threads < 1:
        raise RunError(f"--threads {args.threads}: give a whole number from 1 up")
    names = ("teacher", "weights", "against", "k", "min_score", "assign", "engine", "gate")
    step = Mine(sources=tuple(args.source), **{name: getattr(args, name) for name in names})
    out, part = Path(args.out), (int(number), int(count))
    done = mine_pool(step, Path(), out, start(args.device), part, args.threads, quiet=args.json)
    if "list" not in done:
        return done
    return {"list": str(out / done["list"]), "sheet": str(out / done["sheet"]), **done["counts"]}


def import_weights(args: argparse.Namespace) -> dict[str, Any]:
    """Read published weights of any flavour and write them as safetensors."""
    from ssld.weights import convert

    return convert(args.what, args.arch, args.out, args.revision, args.force)


def fetch_weights(args: argparse.Namespace) -> dict[str, Any]:
    """Download what a card names, or take it from a mirror, and check it; says how to go on."""
    from ssld.progress import note

    arch, weights = cards.find_weights(args.what, args.flavour)
    teacher = cards.all_teachers().get(args.what)
    if teacher and teacher.weights.url != weights.url:
        note(f"the teacher {args.what} is another file: `ssld weights fetch {shelf('teachers') / args.what}.yaml`")
    fetched = published_file(args.what, args.flavour, args.mirror, args.offline, args.out)
    model = cards.models().get(args.what)
    revision = " --revision 1.x" if model and model.revision == "1.x" else ""
    return {**fetched, "next": f"ssld weights import {shlex.quote(fetched['file'])} --arch {arch}{revision}"}


def published_file(
    name: str, flavour: cards.Flavour | None, mirror: str | None, offline: bool, out: str | None = None
) -> dict[str, Any]:
    """The weights that a card names, in `out` or the weights folder: file, status, url, sha256, bytes."""
    from ssld.weights import Published, fetch

    weights = cards.find_weights(name, flavour)[1]
    wanted = Published(f"{name} --flavour {flavour}" if flavour else name, weights.url, weights.sha256)
    offline = offline or os.environ.get("SSLD_OFFLINE", "0") not in ("", "0")
    mirror = mirror or os.environ.get("SSLD_MIRROR") or None
    folder = Path(out) if out else weights_root()
    return fetch(wanted, folder, weights_root() / "pins.yaml", mirror, offline)
