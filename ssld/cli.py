"""ssld COMMAND ... A command parses its arguments, calls one function, prints one result.

PaddlePaddle is imported inside the commands that need it: --help, list, show and plan with a rate answer at once.
"""

import argparse
import errno
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from ssld.arguments import OF_TRAINING, OF_WEIGHTS, parser
from ssld.errors import RecipeError, RunError, SsldError, did_you_mean

Args = argparse.Namespace
LONG = ("reliability", "per_class", "worst")  # of an evaluation: shown with --json


def run(args: Args) -> Any:
    """run every stage of a recipe, export, measure, report; the same command resumes"""
    from ssld import launch

    plan = _plan(args)
    if args.seeds < 1:
        raise RunError(f"--seeds {args.seeds}: give a whole number from 1 up")
    if args.seeds > 1:
        return launch.seeds(plan, args)
    out = _run_folder(plan, args)
    ranks = launch.count_ranks(args.ranks, args.device)
    if ranks > 1 and not launch.is_rank():
        result = launch.ranks(ranks, plan, args, out)
    else:
        from ssld.run import run as run_plan
        from ssld.runtime import start

        if launch.is_rank():
            launch.end_with_parent()
        result = run_plan(plan, out, start(args.device), _loggers(args))
    if launch.is_rank():
        return None  # the process that started the ranks prints
    return result if args.json else _closing_table(result, out)


def sweep(args: Args) -> Any:
    """run a recipe over a grid or random values of its keys: as a W&B sweep, or here without an account (--local)"""
    from ssld import sweep as sweeps

    result: Any = sweeps.run_here(args) if args.local else sweeps.write_wandb(args)
    if args.json:
        return result
    if not args.local:
        return _print_facts(result)
    _print_rows([{key: str(value) if "." in key else value for key, value in row.items()} for row in result["rows"]])
    return print(f"\nreport: {result['report']}")


def label(args: Args) -> Any:
    """make the soft-label caches of a recipe, mend damaged ones, or compare them with the teacher"""
    from ssld.run import label as label_plan
    from ssld.runtime import start

    plan = _plan(args)
    rows = label_plan(plan, _run_folder(plan, args), start(args.device), args.verify, _loggers(args))
    return rows if args.json else _print_rows(rows)


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


def plan(args: Args) -> Any:
    """print what a recipe will take: images, steps, how to split them among cards, storage, time"""
    from ssld import planning

    told = planning.plan_recipe(args)
    return told if args.json else _print_facts(planning.show(told))


def eval_(args: Args) -> Any:
    """evaluate a finished run's student, or weights of a published model, on labelled images"""
    from ssld.tools import evaluate_model, evaluate_run

    if args.weights:
        result = evaluate_model(args.target, Path(args.weights), args.data, args.device)
    else:
        result = evaluate_run(Path(args.target), args.data, args.device)
    return result if args.json else _short(result)


def export(args: Args) -> Any:
    """export a finished run's student, or weights of a model, through the gate: it says what the network says"""
    from ssld.deploying import export_any

    return export_any(args)


def bench(args: Args) -> Any:
    """measure latency of a finished run, an exported folder or a model of the zoo"""
    from ssld.deploying import bench_any

    return bench_any(args)


def data(args: Args) -> Any:
    """prepare a data set as image files + list files, or check the images of a list"""
    from ssld.tools import check_data, prepare_data

    return prepare_data(args) if args.action == "prepare" else check_data(args)


def mine(args: Args) -> Any:
    """choose unlabelled images for a distillation: no near-duplicate of the validation set, the best k of each class"""
    from ssld.tools import mine_images

    result = mine_images(args)
    return result if args.json else _print_facts(result)


def weights(args: Args) -> Any:
    """fetch the weights that a card names, or import published ones as safetensors"""
    from ssld.tools import fetch_weights, import_weights

    other = "import" if args.action == "fetch" else "fetch"
    for option in ("arch", "revision", "force") if other == "import" else ("flavour", "mirror", "offline"):
        if getattr(args, option):
            parser(COMMANDS).error(f"weights {args.action}: --{option} belongs to `ssld weights {other}`")
    if args.action == "import" and not args.arch:
        parser(COMMANDS).error("weights import: --arch NAME is required; `ssld list students` shows the names")
    result = fetch_weights(args) if args.action == "fetch" else import_weights(args)
    return result if args.json else _print_facts(result)


def reproduce(args: Args) -> Any:
    """measure a published training here, by its weights or (--train) by its recipe; ends in experiments/REPORT.md"""
    for option, absent in (OF_WEIGHTS if args.train else OF_TRAINING).items():
        if getattr(args, option) != absent:
            given = "key.path=value" if option == "overrides" else f"--{option.replace('_', '-')}"
            owner = "an evaluation of weights; leave --train out" if args.train else "--train; add it"
            parser(COMMANDS).error(f"reproduce: {given} belongs to {owner}, or leave {given} out")
    from ssld import reproduce as roads

    if args.train:
        if args.seeds < 1:
            raise RunError(f"--seeds {args.seeds}: give a whole number from 1 up")
        return roads.train(args)
    result = roads.measure(args)
    return result if args.json else _print_measured(result)


def compare(args: Args) -> Any:
    """compare two recipes, or stages of recipes, over their seeds; no winner is declared inside the noise"""
    from ssld.report import compare as pairs

    found = pairs.compare(args.a, args.b, args.metric, Path(args.experiments))
    return pairs.as_json(found) if args.json else print(pairs.text(found))


def report(args: Args) -> Any:
    """write report.html of a run; `speed`: teacher against student; `figures`; `ledger`, `ablation`: measured"""
    first, *rest = args.what
    if first in ("ledger", "ablation") and not (rest or args.csv):
        from ssld.report import ablation, claims

        page = claims if first == "ledger" else ablation
        return {first: str((page.check if args.check else page.write)(Path(args.out or "experiments")))}
    if args.check:
        parser(COMMANDS).error("report: --check belongs to `ssld report ledger` and `ssld report ablation`")
    from ssld import report as pages

    files = [Path(file) for file in args.csv]
    if first == "speed" and rest:
        return pages.write_speed([Path(run) for run in rest], files, Path(args.out or "speed"))
    if first == "figures" and not rest:
        return {"figures": [str(file) for file in pages.write_figures(Path(args.out or "figures"), files)]}
    if rest or first == "speed" or args.csv or args.out:
        parser(COMMANDS).error("report: give one RUN alone, or `speed RUN ...`, `figures`, `ledger`, or `ablation`")
    return {"report": str(pages.write_report(Path(first)))}


def _plan(args: Args) -> Any:
    """The recipe, checked down to the loss options and engine names, before anything heavy is imported."""
    from ssld.listing import load_plan

    return load_plan(args.recipe, args.overrides, smoke=args.smoke)


def _run_folder(plan: Any, args: Args) -> Path:
    return Path(args.out) if args.out else Path("runs") / f"{plan.name}-{plan.digest[:8]}"


def _loggers(args: Args) -> Any:
    from ssld.track import Options

    tags = tuple(filter(None, args.wandb_tags.split(",")))
    return Options(
        wandb=args.wandb, project=args.wandb_project, tags=tags, tensorboard="tensorboard" in args and args.tensorboard
    )


def _closing_table(result: dict[str, Any], out: Path) -> None:
    from ssld.report import closing_table

    closing_table(result)
    print(f"\nreport: {out / 'report.html'}")


def _print_measured(result: dict[str, Any]) -> None:
    _print_rows([{key: value for key, value in row.items() if key != "result"} for row in result["rows"]])
    print(f"\nledger: {result['ledger']}")


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
        return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:.2f}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _short(result: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in result.items() if key not in LONG}
    return {key: _short(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _print_facts(facts: dict[str, Any]) -> None:
    """A line each on stdout."""
    for name, value in facts.items():
        print(name.ljust(max(map(len, facts))), f"{value:,}" if isinstance(value, int) else value)


COMMANDS = (run, sweep, label, list_, show, plan, eval_, reproduce, compare, export, bench, data, mine, weights, report)


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
        sys.exit(f"ssld {args.command}: {str(error).removeprefix(f'{args.command}: ')}")
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
    args, rest = parser(COMMANDS).parse_known_args(argv)
    overrides = [word for word in rest if "=" in word and not word.startswith("-")]
    unknown = [word for word in rest if word not in overrides]
    if unknown or (overrides and not hasattr(args, "overrides")):
        parser(COMMANDS).error(
            f"{args.command}: unknown argument {(unknown or overrides)[0]!r}; `ssld {args.command} --help` lists them"
        )
    if overrides:
        args.overrides = [*args.overrides, *overrides]
    args.argv = argv
    return args
