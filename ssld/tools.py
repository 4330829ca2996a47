"""Commands on what a run left behind, on data and on weights: evaluate, export again, bench, prepare, check, fetch."""

import argparse
import os
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssld import create_model
from ssld.config import parse, recipe
from ssld.config.recipe import Plan
from ssld.errors import DataError, DeployError, RunError
from ssld.paths import data_root, shelf, weights_root


def open_run(folder: Path) -> tuple[Plan, Path]:
    """The plan of a finished run and the folder that its list files are relative to. RunError when it is not one."""
    if not (folder / "plan.yaml").is_file():
        raise RunError(f"{folder}: no run here (no plan.yaml); give the folder that `ssld run` printed")
    if not (folder / "result.json").is_file():
        raise RunError(f"{folder}: this run is not finished; repeat its `ssld run` command")
    plan = parse.build(Plan, parse.read_yaml(folder / "plan.yaml"), str(folder / "plan.yaml"))
    return plan, folder if plan.scope == "smoke" else data_root()


def evaluate_run(folder: Path, data: str | None, device: str) -> dict[str, Any]:
    """top1, top5, loss of a finished run's student on its validation list, or on another labelled list."""
    plan, root = open_run(folder)
    from dataclasses import replace

    from ssld.distill.evaluate import evaluate
    from ssld.distill.setup import eval_loader, trained_network
    from ssld.runtime import start

    here, last = start(device), list(plan.stages)[-1]
    stage = plan.stages[last]
    if data:
        stage, root = replace(stage, data=replace(stage.data, val=Path(data).name)), Path(data).parent
    loader = eval_loader(plan, stage, root, here)
    scores = evaluate(trained_network(plan, last, folder), loader, here)
    return {"run": str(folder), "student": plan.student.arch, "images": loader.images, **scores}


def export_run(folder: Path, out: Path | None, formats: list[str], opset: int) -> dict[str, Any]:
    """Export a finished run's student anew, through the gate."""
    plan, root = open_run(folder)
    from ssld.result import release_student
    from ssld.runtime import start

    return release_student(plan, folder, root, start("cpu"), out or folder / "export", formats, opset)


def bench_any(args: argparse.Namespace) -> list[dict[str, Any]] | None:
    """Rows for run folders, exported folders and zoo models (fresh weights: speed does not depend on them)."""
    from ssld.deploy import bench, export_model, write_csv

    if args.csv and not Path(args.csv).absolute().parent.is_dir():
        raise DeployError(f"{args.csv}: there is no such folder; make it first: what was measured would be lost")
    with tempfile.TemporaryDirectory(prefix="ssld-bench-") as scratch:
        networks: dict[str, Path] = {}
        for target in args.target:
            label = target if Path(target).name in (*networks, "export") else Path(target).name
            networks[label] = _exported(target, Path(scratch), args.image_size, export_model)
        rows = bench(
            networks,
            engines=args.engine,
            batch_sizes=args.batch_size,
            image_sizes=args.image_size,
            threads=args.threads,
            warmup=args.warmup,
            repeats=args.repeats,
            quick=args.quick,
        )
    if args.csv:
        write_csv(rows, args.csv)
    found = [asdict(row) for row in rows]
    if args.json:
        return found
    from ssld.progress import table

    table(found, "model-only latency, milliseconds a batch")
    return None


def _exported(target: str, scratch: Path, sizes: list[int] | None, export_model: Any) -> Path:
    folder = Path(target)
    if (folder / "contract.json").is_file():
        return folder
    if (folder / "plan.yaml").is_file():
        open_run(folder)
        return folder / "export"
    if folder.is_dir():
        raise RunError(
            f"{target}: neither a run nor an export; give a run folder, an exported folder or a model's name"
        )
    network = create_model(target, in_size=sizes[0] if sizes else None)
    size = network.in_size
    given = {
        "size": size,
        "mean": list(recipe.IMAGENET_MEAN),
        "std": list(recipe.IMAGENET_STD),
        "resize": round(size * 256 / 224),
    }
    contract = {"arch": network.arch, "classes": network.num_classes, "digest": "fresh weights", "input": given}
    export_model(network, scratch / target, name=target, contract=contract)
    return scratch / target


def prepare_data(args: argparse.Namespace) -> dict[str, Any]:
    """Write a data set as image files and list files; says so when it is already there."""
    from ssld.data import prepare
    from ssld.progress import progress

    names = ("source", "ground_truth", "labelled", "val_share", "seed")
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


def import_weights(args: argparse.Namespace) -> dict[str, Any]:
    """Read published weights of any flavour and write them as safetensors."""
    from ssld.weights import convert

    return convert(args.what, args.arch, args.out, args.revision, args.force)


def fetch_weights(args: argparse.Namespace) -> dict[str, Any]:
    """Download what a card names, or take it from a mirror, and check it; says how to go on."""
    from ssld.config import cards
    from ssld.progress import note
    from ssld.weights import Published, fetch

    arch, weights = cards.find_weights(args.what, args.flavour)
    teacher = cards.all_teachers().get(args.what)
    if teacher and teacher.weights.url != weights.url:
        note(f"the teacher {args.what} is another file: `ssld weights fetch {shelf('teachers') / args.what}.yaml`")
    asked = f"{args.what} --flavour {args.flavour}" if args.flavour else args.what
    wanted = Published(asked, weights.url, weights.sha256)
    offline = args.offline or os.environ.get("SSLD_OFFLINE", "0") not in ("", "0")
    mirror = args.mirror or os.environ.get("SSLD_MIRROR") or None
    folder = Path(args.out) if args.out else weights_root()
    fetched = fetch(wanted, folder, weights_root() / "pins.yaml", mirror, offline)
    return {**fetched, "next": f"ssld weights import {shlex.quote(fetched['file'])} --arch {arch}"}
