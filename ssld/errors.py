"""Define every error that a user can cause. A message is one line: `where: what; what to do`."""

import difflib
from collections.abc import Iterable


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
    matches = difflib.get_close_matches(str(name), [str(k) for k in names], n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
