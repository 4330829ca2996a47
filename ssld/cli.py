"""ssld COMMAND ... A command parses its arguments, calls one function, prints one result.

PaddlePaddle is imported inside the commands that need it: --help, list and show answer at once.
"""

import argparse
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ssld import __version__
from ssld.errors import RecipeError, RunError, SsldError, did_you_mean

Args = argparse.Namespace


def run(args: Args) -> Any:
    """run every stage of a recipe, export, measure, report; the same command resumes"""
    from ssld import launch

    plan = _plan(args)
    if args.seeds < 1:
        raise RunError(f"--seeds {args.seeds}: give a whole number from 1 up")
    if args.seeds > 1:
        return launch.seeds(plan, args)
    out = Path(args.out) if args.out else Path("runs") / f"{plan.name}-{plan.digest[:8]}"
    ranks = launch.count_ranks(args.ranks, args.device)
    if ranks > 1 and not launch.is_rank():
        result = launch.ranks(ranks, plan, args, out)
    else:
        from ssld.run import run as run_plan
        from ssld.runtime import start

        result = run_plan(plan, out, start(args.device), args.wandb)
    if launch.is_rank():
        return None  # the process that started the ranks prints
    return result if args.json else _closing_table(result, out)


def list_(args: Args) -> Any:
    """list what there is: models, teachers, students, losses, recipes or engines"""
    from ssld.listing import LISTS

    if args.what not in LISTS:
        raise RecipeError(f"no list named {args.what!r}{did_you_mean(args.what, LISTS)}; one of {', '.join(LISTS)}")
    rows = LISTS[args.what]()
    return rows if args.json else _print_rows(rows)


def show(args: Args) -> Any:
    """print a recipe with its base, overrides and defaults filled in, or a model's, teacher's or loss's facts"""
    from ssld.listing import describe

    tree, text = describe(args.name, args.overrides, smoke=args.smoke)
    return tree if args.json else print(text)


def eval_(args: Args) -> Any:
    """evaluate a finished run's student on labelled images"""
    from ssld.tools import evaluate_run

    return evaluate_run(Path(args.run), args.data, args.device)


def export(args: Args) -> Any:
    """export a finished run's student through the gate: same logits and top-1 as the trained network, else exit 1"""
    from ssld.tools import export_run

    return export_run(Path(args.run), Path(args.out) if args.out else None, args.format, args.opset)


def bench(args: Args) -> Any:
    """measure latency of a finished run, an exported folder or a model of the zoo"""
    from ssld.tools import bench_any

    return bench_any(args)


def data(args: Args) -> Any:
    """prepare a data set as image files + list files, or check the images of a list"""
    from ssld.tools import check_data, prepare_data

    return prepare_data(args) if args.action == "prepare" else check_data(args)


def weights(args: Args) -> Any:
    """fetch the weights that a card names, or import published ones as safetensors"""
    from ssld.tools import fetch_weights, import_weights

    other = "import" if args.action == "fetch" else "fetch"
    for option in ("arch", "revision", "force") if other == "import" else ("flavour", "mirror", "offline"):
        if getattr(args, option):
            parser().error(f"weights {args.action}: --{option} belongs to `ssld weights {other}`")
    if args.action == "import" and not args.arch:
        parser().error("weights import: --arch NAME is required; `ssld list students` shows the names")
    result = fetch_weights(args) if args.action == "fetch" else import_weights(args)
    return result if args.json else _print_facts(result)


def report(args: Args) -> Any:
    """write report.html of a finished run anew"""
    from ssld.report import write_report

    page = write_report(Path(args.run))
    return {"report": str(page)}


def _plan(args: Args) -> Any:
    """The recipe, checked down to the loss options and engine names, before anything heavy is imported."""
    from ssld.listing import load_plan

    return load_plan(args.recipe, args.overrides, smoke=args.smoke)


def _closing_table(result: dict[str, Any], out: Path) -> None:
    from ssld.report import closing_table

    closing_table(result)
    print(f"\nreport: {out / 'report.html'}")


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Aligned columns on stdout, numbers to the right."""
    columns = []
    for key in rows[0] if rows else ():
        values = [row[key] for row in rows]
        right = all(value is None or isinstance(value, (int, float)) for value in values)
        cells = [key, *map(_cell, values)]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    for line in zip(*columns, strict=True):
        print("  ".join(line).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _print_facts(facts: dict[str, Any]) -> None:
    """A line each on stdout."""
    for name, value in facts.items():
        print(name.ljust(max(map(len, facts))), f"{value:,}" if isinstance(value, int) else value)


class _Parser(argparse.ArgumentParser):
    """A wrong command line is one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ssld: {message}\n")


def parser() -> argparse.ArgumentParser:
    root = _Parser(
        prog="ssld", description="Knowledge distillation on PaddlePaddle: a recipe in, a measured student out."
    )
    root.add_argument("--version", action="version", version=f"ssld {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for function in (run, list_, show, eval_, export, bench, data, weights, report):
        name = function.__name__.rstrip("_")
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        ARGUMENTS[name](command)
        command.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return root


def _recipe_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("overrides", nargs="*", metavar="key.path=value", help="change keys of the recipe")
    command.add_argument("--smoke", action="store_true", help="the whole recipe in seconds, on fake images")


def _run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="a recipe file, or its name (`ssld list recipes`)")
    _recipe_arguments(command)
    command.add_argument(
        "--out", help="run folder (default runs/<recipe>-<digest>); with --seeds the folder of the run folders"
    )
    command.add_argument("--ranks", default="1", help="processes that share each batch: a number, or auto = one a GPU")
    command.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"))
    command.add_argument("--wandb", default="offline", choices=("offline", "online", "disabled"))
    command.add_argument("--seeds", type=int, default=1, help="run so many seeds one after the other and compare them")
    command.add_argument("--experiments", default="experiments", help="where --seeds records its results")


def _show_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="a recipe, model, teacher, student, loss or engine")
    _recipe_arguments(command)


def _eval_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="folder of a finished run")
    command.add_argument("--data", help="list file of labelled images (default: the recipe's validation list)")
    command.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"))


def _export_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="folder of a finished run")
    command.add_argument("--out", help="target folder (default RUN/export)")
    command.add_argument("--format", nargs="+", default=["paddle", "onnx"], choices=("paddle", "onnx"))
    command.add_argument("--opset", type=int, default=17, help="ONNX opset, 9 to 21")


def _bench_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", nargs="+", help="run folders, exported folders or model names")
    command.add_argument("--engine", nargs="+", default=["paddle", "onednn", "onnxruntime"])
    command.add_argument("--batch-size", nargs="+", type=int, default=[1])
    command.add_argument(
        "--image-size", nargs="+", type=int, help="pixels (default: what each was exported for; 224 for a model)"
    )
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--warmup", type=int, default=10)
    command.add_argument("--repeats", type=int, default=500)
    command.add_argument("--quick", action="store_true", help="at most 50 repeats or a second a row")
    command.add_argument("--csv", help="also write the rows to this file")


def _data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("prepare", "check"))
    command.add_argument(
        "what", help="prepare: digits, fashion_mnist, imagenet, folder or unlabelled; check: a list file"
    )
    command.add_argument("--source", help="folder (or file) that the images come from")
    command.add_argument("--out", help="prepare: target folder (default: <data folder>/<kind>)")
    command.add_argument("--val-share", type=float, help="prepare folder: share of each class kept for validation")
    command.add_argument(
        "--allow-partial", action="store_true", help="prepare imagenet: accept other counts than ImageNet-1k's"
    )
    command.add_argument("--ground-truth", help="prepare imagenet: list of labels of a flat validation folder")
    command.add_argument("--labelled", type=int, help="prepare digits, fashion_mnist: labelled images a class")
    command.add_argument("--seed", type=int, help="prepare folder: seed of the split")
    command.add_argument("--classes", type=int, help="check: labels must be below this number")
    command.add_argument("--root", help="check: folder that the paths are relative to (default: the list's own)")
    command.add_argument("--threads", type=int, default=2)


def _weights_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("fetch", "import"))
    command.add_argument(
        "what", help="fetch: a published training (`ssld list models`, `teachers`); import: a weights file or folder"
    )
    command.add_argument("--out", help="fetch: target folder (default: the weights folder); import: safetensors file")
    command.add_argument("--flavour", choices=("develop", "2.0", "static"), help="fetch: whose names the file has")
    command.add_argument("--mirror", help="fetch: folder or base address that holds the file (default $SSLD_MIRROR)")
    command.add_argument("--offline", action="store_true", help="fetch: use no network (also SSLD_OFFLINE=1)")
    command.add_argument("--arch", help="import: the architecture that the weights are of")
    command.add_argument("--revision", choices=("1.x", "2.x"), help="import: needed where the keys fit both")
    command.add_argument("--force", action="store_true", help="import: replace another file at the target")


ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _run_arguments,
    "list": lambda command: (command.add_argument("what"), None)[1],
    "show": _show_arguments,
    "eval": _eval_arguments,
    "export": _export_arguments,
    "bench": _bench_arguments,
    "data": _data_arguments,
    "weights": _weights_arguments,
    "report": lambda command: (command.add_argument("run", help="folder of a finished run"), None)[1],
}


def main(argv: list[str] | None = None) -> None:
    os.environ.setdefault("GLOG_minloglevel", "2")  # of Paddle's C++ code: errors only
    warnings.filterwarnings("ignore", message="No ccache found")  # Paddle speaks of its compiler cache when imported
    args = _parse(sys.argv[1:] if argv is None else argv)
    try:
        result = args.function(args)
        if result is not None:
            print(json.dumps(result, indent=1))
    except SsldError as error:
        if args.debug:
            raise
        sys.exit(f"ssld {args.command}: {error}")
    except BrokenPipeError:  # `ssld list models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if args.debug or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        where = error.filename or "output"
        sys.exit(f"ssld {args.command}: {where}: {error.strerror}; what was saved before is untouched")
    except KeyboardInterrupt:
        print(f"\nssld {args.command}: stopped; the same command resumes", file=sys.stderr)
        sys.exit(130)


def _parse(argv: list[str]) -> Args:
    """Overrides may stand anywhere among the options."""
    args, rest = parser().parse_known_args(argv)
    overrides = [word for word in rest if "=" in word and not word.startswith("-")]
    unknown = [word for word in rest if word not in overrides]
    if unknown or (overrides and not hasattr(args, "overrides")):
        parser().error(
            f"{args.command}: unknown argument {(unknown or overrides)[0]!r}; `ssld {args.command} --help` lists them"
        )
    if overrides:
        args.overrides = [*args.overrides, *overrides]
    args.argv = argv
    return args
