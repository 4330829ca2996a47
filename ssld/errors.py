"""Define every error that a user can cause. A message is one line: `where: what; what to do`."""

import difflib
import itertools
import sys
import traceback
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class SsldError(Exception):
    """Mark the errors that the command line prints as one line, without a traceback."""


class RecipeError(SsldError):
    """Report a recipe, card, override or name that is not valid."""


class WeightsError(SsldError):
    """Report weights that are missing, damaged, or made for another network."""


class DataError(SsldError):
    """Report a list file, folder or image that cannot be used."""


class DeployError(SsldError):
    """Report an export that differs from its model, or an engine that cannot run here."""


class RunError(SsldError):
    """Report a run that cannot start, go on or be resumed."""


class UsageError(SsldError):
    """Report options of a command that do not belong together.

    The command line then ends with exit code 2 instead of 1.
    """


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or "" when none is near."""
    matches = difflib.get_close_matches(str(name)[:100], [str(k) for k in names], n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def shown(value: object, most: int = 80) -> str:
    """Return a value as Python writes it, for a message: cut after `most` characters, on one line."""
    try:
        text = repr([*value] if isinstance(value, tuple) else value)
    except ValueError:  # a whole number of more digits than Python writes
        text = f"a {type(value).__name__} of very many digits"
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]} ..."


NAMED = 5  # the most names in a message


def some(names: Collection[str], most: int = NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(itertools.islice(names, most)) + more


LONGEST = 300  # characters of a message of other people's code


def call_own(function: Callable[..., T], what: str, *arguments: Any, **named: Any) -> T:
    """Call other people's code. RecipeError, which begins with `what`, says in one line what it raised, and where; an
    error of this library passes.
    """
    try:
        return function(*arguments, **named)
    except SsldError:
        raise
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        reason = f"{type(error).__name__}: {text[:LONGEST]}"
        raise RecipeError(f"{what} failed{_place(error)} ({reason}); correct its code") from error


def _place(error: Exception) -> str:
    """Return the last line of code that is neither Paddle's nor this library's, if there is one."""
    modules = [sys.modules[name] for name in ("paddle", "ssld") if name in sys.modules]
    ours = tuple(str(module.__path__[0]) for module in modules)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    return f" in line {frames[-1].lineno} of {frames[-1].filename.rpartition('/')[2]}" if frames else ""
