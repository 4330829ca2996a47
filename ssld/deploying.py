"""`ssld export` and `ssld bench`: a finished run, or a model of the zoo with weights, as files that passed the gate."""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ssld import create_model
from ssld.config import cards, parse, recipe, scope
from ssld.config.delivery import Export
from ssld.errors import DeployError, RunError
from ssld.progress import note, progress, table
from ssld.tools import labelled_list, open_run, with_weights


def export_any(args: argparse.Namespace) -> dict[str, Any]:
    """Export a run's student, or published (or other) weights of a model; what the gate found, a format an entry.

    A model without weights is refused: fresh ones are worth nothing to anybody.
    """
    target = Path(args.target)
    if args.weights is None and args.target in cards.models() and not target.exists():
        fetched = f"`ssld weights fetch {args.target}` gets the published ones"
        raise DeployError(f"{args.target}: a model has no weights of its own; give --weights FILE ({fetched})")
    if args.weights is None:
        if args.data:
            raise DeployError("export: --data belongs to a model with --weights; a run has its own validation list")
        results = export_run(target, args)
    else:
        results = export_weights(args.target, Path(args.weights), args)
    tell_phone(args, results)
    return results


def options(export: Export, args: argparse.Namespace) -> Export:
    """The recipe's `export` block with what the command line changes. RecipeError for a key or value that is none."""
    tree = {"export": parse.to_plain(export)}
    for text in args.gate or ():
        parse.override(tree, {"export": parse.to_plain(export)}, f"export.gate_{text}")
    flags = {
        "formats": args.format,
        "opset": args.opset,
        "preprocess": args.with_preprocess,
        "softmax": args.with_softmax,
        "dynamic_batch": args.dynamic_batch,
        "plan_precision": args.precision,
    }
    if args.precision and "tensorrt" not in (args.format or export.formats):
        raise DeployError("export: --precision is that of a TensorRT plan; add --format tensorrt, or name fp16 or int8")
    return parse.build(
        Export, tree["export"] | {key: value for key, value in flags.items() if value is not None}, "export"
    )


def export_run(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A finished run's student anew, through the gate."""
    plan, root = open_run(folder)
    from dataclasses import replace

    from ssld.result import release_student
    from ssld.runtime import start

    plan = replace(plan, export=options(plan.export, args))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return release_student(plan, folder, root, start("cpu"), destination(args), result)


def export_weights(name: str, file: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A model of the zoo with the weights of a file, through the gate on labelled images (`--data`).

    int8 takes its ranges from an even selection of the same images.
    """
    export, card, listed = options(Export(), args), cards.find_model(name), labelled_list(args.data)
    from ssld import result
    from ssld.data import EvalLoader, class_names, read_list, sampler
    from ssld.deploy import calibrated, needed, release
    from ssld.distill.labelling import weights_digest
    from ssld.distill.setup import labelled
    from ssld.runtime import start

    start("cpu")
    network, given = with_weights(name, file), card.input
    published = {"top1": card.top1, "top5": card.top5, "source": f"published: {card.source}"}  # of ImageNet's classes
    files = read_list(listed, listed.parent, network.num_classes)
    labelled(files, "every image of the gate needs one")
    shape: dict[str, Any] = {"size": given.size, "resize": given.resize, "mean": given.mean, "std": given.std}

    def pictures(number: int) -> Any:
        chosen = files.subset(sampler.evenly(number, len(files)))
        return result.all_images(EvalLoader(chosen, batch=32, **shape))

    how, (images, labels) = result.how(export), pictures(result.slice_size(export))
    with progress(0, "export"):
        return release(
            network,
            destination(args),
            images,
            labels,
            name=name,
            contract={
                "arch": network.arch,
                "classes": network.num_classes,
                "class_names": class_names(listed, network.num_classes) or None,
                "accuracy": published if network.num_classes == scope.CLASSES else None,
                "digest": weights_digest(network),
                "weights": file.name,
                "input": shape | {"mean": list(given.mean), "std": list(given.std), "interpolation": "linear"},
            },
            formats=export.formats,
            how=how,
            calibration=pictures(export.calibration_images)[0] if calibrated(needed(export.formats, how)) else None,
            allowed=result.allowed(export),
        )


def destination(args: argparse.Namespace) -> Path:
    """`--out`, else RUN/export, else exports/MODEL."""
    if args.out:
        return Path(args.out)
    return Path(args.target) / "export" if args.weights is None else Path("exports") / args.target


def tell_phone(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Say how to measure a file for phones: it cannot be done here."""
    if "paddlelite" not in results:
        return
    from ssld.deploy import contract
    from ssld.deploy.engines.paddlelite import phone_command

    folder = destination(args)
    note(f"on a phone: {phone_command(folder / 'model.nb', contract.read(folder))}")


def bench_any(args: argparse.Namespace) -> dict[str, Any] | None:
    """Rows for run folders, exported folders and zoo models (fresh weights: speed does not depend on them)."""
    if bool(args.target) == args.all_students:
        raise DeployError("bench: give networks (run folders, exports, model names) or --all-students")
    if args.csv and not Path(args.csv).absolute().parent.is_dir():
        raise DeployError(f"{args.csv}: there is no such folder; make it first: what was measured would be lost")
    if args.images and "end-to-end" not in args.span:
        raise DeployError("bench: --images are for end-to-end; add that to --span")
    from ssld.deploy import machine, unsteady
    from ssld.deploy.bench import check_asked

    numbers = {"batch_sizes": args.batch_size, "image_sizes": args.image_size or [1], "repeats": [args.repeats]}
    check_asked(args.engine, args.precision, args.threads, **numbers)
    facts = machine.describe()
    rows = sweep(args, facts) if args.all_students else keep(bench_group(args.target, args), facts, args)
    for sentence in [*unsteady(rows), *facts["notes"]]:
        note(f"bench: {sentence}")
    found = [asdict(row) for row in rows]
    if args.json:
        return {"machine": facts, "rows": found}
    shown = [{key: value for key, value in row.items() if key not in NOT_SHOWN} for row in found]
    table(shown, "latency, milliseconds a batch; speed-up over the first row of its kind, with its 95 % interval")
    return None


def sweep(args: argparse.Namespace, facts: dict[str, Any]) -> list[Any]:
    """The rows of every architecture, one after the other; DeployError, at the end, for those that gave none."""
    rows: list[Any] = []
    failed, archs = [], list(cards.all_students())
    for number, arch in enumerate(archs, 1):
        try:
            rows = keep(rows + bench_group([arch], args), facts, args)
        except DeployError as error:
            failed.append(arch)
            note(str(error))
        note(f"bench: {number} of {len(archs)}, {arch}")
    if failed:
        what = f"{len(failed)} of {len(archs)} gave no rows: {', '.join(failed)}"
        raise DeployError(f"bench: {what}; see above why, the others are in the file of --csv if there is one")
    return rows


def keep(rows: list[Any], facts: dict[str, Any], args: argparse.Namespace) -> list[Any]:
    """Write the rows where `--csv` says, and with the machine beside that; returns them."""
    from ssld.deploy import write_csv, write_json

    if args.csv:
        write_csv(rows, args.csv)
        write_json(rows, facts, Path(args.csv).with_suffix(".json"))
    return rows


NOT_SHOWN = {"repeats", "images_per_second", "drift", "spread"}  # in the table; --csv and --json have all


def bench_group(targets: list[str], args: argparse.Namespace) -> list[Any]:
    """The rows of networks that are measured against each other."""
    from ssld.deploy import bench

    with tempfile.TemporaryDirectory(prefix="ssld-bench-") as scratch:
        networks: dict[str, Path] = {}
        for target in targets:
            label = target if Path(target).name in (*networks, "export") else Path(target).name
            networks[label] = _exported(target, Path(scratch), args)
        return bench(
            networks,
            engines=args.engine,
            precisions=args.precision,
            batch_sizes=args.batch_size,
            image_sizes=args.image_size,
            threads=args.threads,
            spans=args.span,
            pictures=pictures(args.images),
            warmup=args.warmup,
            repeats=args.repeats,
            quick=args.quick,
            memory=not args.quick,
        )


def pictures(listed: str | None) -> list[Path]:
    """The first images of a list file, PICTURES at most; [] without one: drawn images are taken."""
    if listed is None:
        return []
    from ssld.data import read_list

    files = read_list(Path(listed), Path(listed).parent)
    return [Path(files.path(number)) for number in range(min(PICTURES, len(files)))]


PICTURES = 64


def _exported(target: str, scratch: Path, args: argparse.Namespace) -> Path:
    """The folder of a target's export; a model's, with fresh weights, is written in the formats that are needed."""
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
    from ssld.deploy import export_model, formats_for

    formats = formats_for(args.engine, args.precision)
    network = create_model(target, in_size=args.image_size[0] if args.image_size else None)
    size = network.in_size
    given = {
        "size": size,
        "mean": list(recipe.IMAGENET_MEAN),
        "std": list(recipe.IMAGENET_STD),
        "resize": round(size * 256 / 224),
    }
    contract = {"arch": network.arch, "classes": network.num_classes, "digest": "fresh weights", "input": given}
    noise = np.random.default_rng(0).standard_normal((8, 3, size, size)).astype("float32")
    export_model(network, scratch / target, name=target, contract=contract, formats=formats, calibration=noise)
    return scratch / target
