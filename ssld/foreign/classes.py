"""Read the mapping file: where each class of a recipe stands in the output of a network with another order."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssld.errors import RecipeError
from ssld.files import open_regular

LONGEST = 9  # digits of the index of a class


def read_classes(file: Path, classes: int) -> NDArray[np.int64]:
    """Return int64 [classes]: entry i is the index, from 0, of the recipe's class i in the output of the network.

    The file has one line for each class of the recipe, and each line is one such index. RecipeError names the line that
    is no index, is negative or repeats another one, and says when the number of lines is not `classes`.
    """
    try:
        with open_regular(file, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error}); write one index on each of {classes} lines") from None
    if len(lines) != classes:
        what = f"{len(lines)} lines, the recipe has {classes} classes"
        raise RecipeError(f"{file}: {what}; write one line for each class of the recipe")
    line_of_index: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        index = _index(line.strip(), f"{file}: line {number}")
        if index in line_of_index:
            what = f"repeats the index {index} of line {line_of_index[index]}"
            raise RecipeError(f"{file}: line {number}: {what}; each class of the network stands for one class at most")
        line_of_index[index] = number
    return np.array(list(line_of_index), dtype=np.int64)


def _index(text: str, where: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= LONGEST):
        raise RecipeError(
            f"{where}: {text[:80]!r} is no index; write the place of the class in the output, counted from 0"
        )
    if text.startswith("-"):
        what = "every class of the recipe needs a class of the network"
        raise RecipeError(f"{where}: {text} is negative; {what}, which is counted from 0")
    return int(text)
