"""Parse the command line `ssld COMMAND ...`, call the function of the command, and print its result.

The function of a command is in `ssld/commands/<command>.py`. That file is imported when the command is called, so that
`ssld --help` answers at once.
"""

import argparse
import builtins
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ssld.arguments import parser
from ssld.errors import SsldError, UsageError
from ssld.files import place_of, reason_of
from ssld.spec.printable import message, printable, printable_lines
from ssld.stopping import STOPPED, caught
from ssld.streams import (
    PIPE_CLOSED,
    drop_output,
    libraries_print_on_stderr,
    open_standard_files,
    progress_on_stderr,
)

Args = argparse.Namespace
OWN = ("command", "argv", "json", "debug")  # destinations of the parser that say how to print, not what to do
FROM_OWN: dict[str, dict[str, str]] = {  # command -> parameter of its function -> the destination of OWN that it gets
    "run": {"argv": "argv"},  # every rank is started with the same words
    "data": {"quiet": "json"},
    "mine": {"quiet": "json"},
}
RESUMES = (
    "run",
    "sweep",
    "tune",
    "grid",
    "label",
    "reproduce",
    "mine",
    "data prepare",
    "weights fetch",
)  # when they are repeated
IN_FILES = (*RESUMES, "export", "report", "weights import")  # what they print is in files too
LONG = ("reliability", "per_class", "worst")  # results of an evaluation that --json alone prints
# These values of a row of `ssld bench` stand in --csv and --json alone.
NOT_IN_TABLE = ("repeats", "images_per_second", "drift", "spread")


def main(argv: list[str] | None = None) -> None:
    """Run a command line. The exit code is 0, or one of docs/reproducibility.md, "How a command ends"."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's C++ code prints errors only
    warnings.filterwarnings("ignore", message="No ccache found")  # Paddle speaks of its compiler cache when imported
    open_standard_files()
    with progress_on_stderr(), caught() as stop:
        args = _parse(sys.argv[1:] if argv is None else argv)
        try:
            with libraries_print_on_stderr():
                result = function(args.command)(**options(args))
            if result is not None:  # a rank has no result: the process that started the ranks prints it
                _deliver(args, result)
        except UsageError as error:
            parser().error(message(error))
        except SsldError as error:
            if args.debug:
                raise
            sys.exit(message(f"ssld {args.command}: {str(error).removeprefix(f'{args.command}: ')}"))
        except KeyboardInterrupt:
            _stopped(args)
        except Exception as error:
            if args.debug or not (stop.asked or isinstance(error, OSError | MemoryError)):
                raise
            if stop.asked:  # a library was interrupted, and says so in its own way
                _stopped(args)
            full = isinstance(error, MemoryError)  # its text is a library's, and often none
            what = "the system: not enough memory" if full else f"{place_of(error, 'the system')}: {reason_of(error)}"
            sys.exit(message(f"ssld {args.command}: {what}; mend that and repeat"))


def _stopped(args: Args) -> NoReturn:
    """Say that a signal stopped the command, and what the same command does."""
    again = "resumes" if _action(args) in RESUMES else "begins anew"
    print(f"\nssld {args.command}: stopped; the same command {again}", file=sys.stderr)
    sys.exit(STOPPED)


def _action(args: Args) -> str:
    """Return the command, and the action of one that has several."""
    return " ".join([args.command, *([args.action] if hasattr(args, "action") else [])])


def _parse(argv: list[str]) -> Args:
    """Parse the words. Overrides may stand anywhere among the options."""
    args, words = parser().parse_known_args(argv)
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    unknown = [word for word in words if word not in overrides]
    if unknown or (overrides and not hasattr(args, "overrides")):
        parser().error(
            f"{args.command}: unknown argument {(unknown or overrides)[0]!r}; `ssld {args.command} --help` lists them"
        )
    for name, value in vars(args).items():
        if value == "" or (isinstance(value, list) and "" in value):
            parser().error(f"{args.command}: {name.replace('_', '-')} is empty; give it a value, or leave it out")
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


def _deliver(args: Args, result: Any) -> None:
    """Print a result.

    A reader that has gone, as in `ssld list models | head`, gets no more; the exit code is that of any Unix command
    then, unless the result is in files. Raises SsldError where standard output does not take the result.
    """
    try:
        if sys.stdout is None:
            raise BrokenPipeError
        _print(args.command, result, as_json=args.json)
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        if not isinstance(error, BrokenPipeError):
            raise SsldError(f"standard output: {reason_of(error)}; the result was not printed") from None
        if _action(args) not in IN_FILES:
            sys.exit(PIPE_CLOSED)


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
    return print(f"\nreport: {printable(result.folder / 'report.html')}")


def _print_sweep(result: Mapping[str, Any]) -> None:
    if "rows" not in result:
        return _print_facts(result)
    _print_rows([{key: str(value) if "." in key else value for key, value in row.items()} for row in result["rows"]])
    return print(f"\nreport: {printable(result['report'])}")


def _print_tuned(result: Mapping[str, Any]) -> None:
    _print_rows([{key: str(value) if "." in key else value for key, value in row.items()} for row in result["rows"]])
    print(f"\n{printable(result['verdict'])}\n")
    shown = {"to take": "overrides", "best": "best_overrides"}
    facts = {name: shlex.join(result[key]) for name, key in shown.items()}
    _print_facts({**facts, "held out": result["held_out"], "report": result["report"]})


def _print_grid(result: Mapping[str, Any]) -> None:
    _print_facts({**result, "failed": "; ".join(result["failed"]) or "none"})


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
    return print(f"\nledger: {printable(result['ledger'])}")


def _print_comparison(result: Any) -> None:
    from ssld.report import compare

    print(printable_lines(compare.text(result)))


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
        cells = [printable(key), *map(_cell, values)]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    for line in zip(*columns, strict=True):
        print("  ".join(line).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:.2f}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else printable(value)


def _short(result: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in result.items() if key not in LONG}
    return {key: _short(value) if isinstance(value, dict) else value for key, value in shown.items()}


def _print_facts(facts: Mapping[str, Any]) -> None:
    """Print a line for each fact on stdout."""
    for name, value in facts.items():
        print(printable(name).ljust(max(map(len, facts))), f"{value:,}" if isinstance(value, int) else printable(value))


FOR_A_PERSON: dict[str, Callable[[Any], None]] = {
    "run": _print_run,
    "sweep": _print_sweep,
    "tune": _print_tuned,
    "grid": _print_grid,
    "label": _print_rows,
    "list": _print_rows,
    "show": lambda facts: print(printable_lines(facts.text)),
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
