"""`ssld export` and `ssld bench`: a finished run, or a model of the zoo with weights, as files that passed the gate."""

import argparse
import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssld import create_model
from ssld.config import cards, parse, recipe
from ssld.config.delivery import Export
from ssld.errors import DeployError, RunError
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
    from ssld.data import EvalLoader, read_list, sampler
    from ssld.deploy import needed, release
    from ssld.distill.setup import labelled
    from ssld.progress import progress
    from ssld.runtime import start

    start("cpu")
    network, given = with_weights(name, file), card.input
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
                "class_names": result.names_beside(listed, network.num_classes),
                "accuracy": {"top1": card.top1, "top5": card.top5, "source": f"published: {card.source}"},
                "digest": digest_of(network),
                "weights": file.name,
                "input": shape | {"mean": list(given.mean), "std": list(given.std), "interpolation": "linear"},
            },
            formats=export.formats,
            how=how,
            calibration=pictures(export.calibration_images)[0] if "int8" in needed(export.formats, how) else None,
            allowed=result.allowed(export),
        )


def digest_of(network: Any) -> str:
    """sha256 over the keys and values of a network's state."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


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
    from ssld.progress import note

    folder = destination(args)
    note(f"on a phone: {phone_command(folder / 'model.nb', contract.read(folder))}")


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
