"""Parse the command line `ssld COMMAND ...`, call the function of the command, and print its result.

The function of a command is in `ssld/commands/<command>.py`. That file is imported when the command is called, so that
`ssld --help` answers at once.
"""

import argparse
import builtins
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from ssld.arguments import parser
from ssld.errors import SsldError, UsageError

Args = argparse.Namespace
OWN = ("command", "argv", "json", "debug")  # destinations of the parser that say how to print, not what to do
FROM_OWN: dict[str, dict[str, str]] = {  # command -> parameter of its function -> the destination of OWN that it gets
    "run": {"argv": "argv"},  # every rank is started with the same words
    "data": {"quiet": "json"},
    "mine": {"quiet": "json"},
}
LONG = ("reliability", "per_class", "worst")  # results of an evaluation that --json alone prints
# These values of a row of `ssld bench` stand in --csv and --json alone.
NOT_IN_TABLE = ("repeats", "images_per_second", "drift", "spread")


def main(argv: list[str] | None = None) -> None:
    """Run a command line. Exit code 0, 1 for an error of the user, 2 for a wrong command line, 130 after Ctrl-C."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's C++ code prints errors only
    warnings.filterwarnings("ignore", message="No ccache found")  # Paddle speaks of its compiler cache when imported
    args = _parse(sys.argv[1:] if argv is None else argv)
    try:
        result = function(args.command)(**options(args))
        if result is not None:  # a rank has no result: the process that started the ranks prints it
            _print(args.command, result, as_json=args.json)
    except UsageError as error:
        parser().error(str(error))
    except SsldError as error:
        if args.debug:
            raise
        sys.exit(f"ssld {args.command}: {str(error).removeprefix(f'{args.command}: ')}")
    except BrokenPipeError:  # as in `ssld list models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        file = error.filename2 or error.filename
        if args.debug or not (file or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)):
            raise
        sys.exit(f"ssld {args.command}: {file or 'output'}: {error.strerror}; what was saved before is untouched")
    except KeyboardInterrupt:
        print(f"\nssld {args.command}: stopped; the same command resumes", file=sys.stderr)
        sys.exit(130)


def _parse(argv: list[str]) -> Args:
    """Parse the words. Overrides may stand anywhere among the options."""
    args, words = parser().parse_known_args(argv)
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    unknown = [word for word in words if word not in overrides]
    if unknown or (overrides and not hasattr(args, "overrides")):
        parser().error(
            f"{args.command}: unknown argument {(unknown or overrides)[0]!r}; `ssld {args.command} --help` lists them"
        )
    if overrides:
        args.overrides = [*args.overrides, *overrides]
    args.argv = argv
    return args


def function(command: str) -> Callable[..., Any]:
    """Return the function of a command.

    It has the command's name, and an underscore behind that of one of Python's own.
    """
    name = f"{command}_" if hasattr(builtins, command) else command
    command_function: Callable[..., Any] = getattr(import_module(f"ssld.commands.{command}"), name)
    return command_function


def options(args: Args) -> dict[str, Any]:
    """Return the keyword arguments of the command's function: every option of the command, and what FROM_OWN adds."""
    values = {name: value for name, value in vars(args).items() if name not in OWN}
    return values | {name: getattr(args, own) for name, own in FROM_OWN.get(args.command, {}).items()}


# --- these functions print


def _print(command: str, result: Any, *, as_json: bool) -> None:
    """Print a result as JSON where that is asked for, and where a command has no other form."""
    if not as_json and command in FOR_A_PERSON:
        return FOR_A_PERSON[command](result)
    return _print_json(AS_TREE[command](result) if command in AS_TREE else result)


def _print_json(tree: Any) -> None:
    print(json.dumps(tree, indent=1))


def _print_run(result: Any) -> None:
    """Print the closing table of a run; of several seeds, say where their comparison is."""
    from ssld.report import closing_table

    if isinstance(result, dict):
        return _print_json(result)
    closing_table(result.result)
    return print(f"\nreport: {result.folder / 'report.html'}")


def _print_sweep(result: Mapping[str, Any]) -> None:
    if "rows" not in result:
        return _print_facts(result)
    _print_rows([{key: str(value) if "." in key else value for key, value in row.items()} for row in result["rows"]])
    return print(f"\nreport: {result['report']}")


def _print_plan(result: Any) -> None:
    from ssld import planning
    from ssld.progress import table

    for title, rows in planning.tables(result):
        table(rows, title)
        print()
    _print_facts(planning.facts(result))


def _print_bench(result: Mapping[str, Any]) -> None:
    from ssld.progress import table

    rows = [{key: value for key, value in row.items() if key not in NOT_IN_TABLE} for row in result["rows"]]
    table(rows, "latency, milliseconds a batch; speed-up over the first row of its kind, with its 95 % interval")


def _print_reproduction(result: Mapping[str, Any]) -> None:
    if "rows" not in result:
        return _print_json(result)
    _print_rows([{key: value for key, value in row.items() if key != "result"} for row in result["rows"]])
    return print(f"\nledger: {result['ledger']}")


def _print_comparison(result: Any) -> None:
    from ssld.report import compare

    print(compare.text(result))


def _comparison_tree(result: Any) -> dict[str, Any]:
    from ssld.report import compare

    return compare.as_json(result)


def _run_tree(result: Any) -> dict[str, Any]:
    return result if isinstance(result, dict) else result.result


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print aligned columns on stdout, numbers to the right."""
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


def _short(result: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in result.items() if key not in LONG}
    return {key: _short(value) if isinstance(value, dict) else value for key, value in shown.items()}


def _print_facts(facts: Mapping[str, Any]) -> None:
    """Print a line for each fact on stdout."""
    for name, value in facts.items():
        print(name.ljust(max(map(len, facts))), f"{value:,}" if isinstance(value, int) else value)


FOR_A_PERSON: dict[str, Callable[[Any], None]] = {
    "run": _print_run,
    "sweep": _print_sweep,
    "label": _print_rows,
    "list": _print_rows,
    "show": lambda facts: print(facts.text),
    "plan": _print_plan,
    "eval": lambda scores: _print_json(_short(scores)),
    "reproduce": _print_reproduction,
    "compare": _print_comparison,
    "bench": _print_bench,
    "mine": _print_facts,
    "weights": _print_facts,
}
AS_TREE: dict[str, Callable[[Any], Any]] = {  # these results are not what JSON holds
    "run": _run_tree,
    "show": lambda facts: facts.tree,
    "compare": _comparison_tree,
}
