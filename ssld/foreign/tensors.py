"""Describe what an inference engine says of a network before it runs: the tensors that go in and come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssld.errors import RunError

Array = NDArray[np.float32]
AnyArray = NDArray[np.generic]
DTYPES = ("float32", "float16", "float64", "uint8")  # types of an image


@dataclass(frozen=True)
class Image:
    """Describe the input of a network. A size of None is dynamic; a shape of None was not written into the file."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str  # as NumPy names it, or as the file does where NumPy has no such type

    def __str__(self) -> str:
        """Return text such as `uint8 [?, 224, 224, 3]`."""
        sizes = "of unknown shape" if self.shape is None else f"[{', '.join(str(n or '?') for n in self.shape)}]"
        return f"{self.dtype} {sizes}"


class Engine(Protocol):
    """Run a network that an inference engine has read. `where` opens every message about it.

    The network is ready to run after `load`.
    """

    where: str
    title: str  # name and version of the engine

    @property
    def image(self) -> Image: ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the tensors that the file declares as outputs."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return every tensor that may be asked for: `outputs`, and the inner ones where the engine can give them."""

    def load(self, wanted: Sequence[str]) -> None:
        """Get ready to compute these tensors. It raises RunError where the engine cannot."""

    def run(self, images: AnyArray) -> list[AnyArray]:
        """Return the tensors that `load` named, in that order. It raises RunError where the engine fails."""

    def digests(self) -> dict[str, str]:
        """Return sha256 of each file that the network is made of, by the part that it plays."""


def only_input(names: Sequence[str], where: str) -> str:
    """Return the name of the one input. It raises RunError for a network that has none, or more than the images."""
    if len(names) != 1:
        what = f"has {len(names)} inputs ({', '.join(names) or 'none'})"
        raise RunError(f"{where}: {what}; a teacher is fed images alone, export it with one input")
    return names[0]
