"""What an inference engine says of a network before it runs: the tensors that go in and come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssld.errors import RunError

Array = NDArray[np.float32]
AnyArray = NDArray[np.generic]
DTYPES = ("float32", "float16", "float64", "uint8")  # of an image


@dataclass(frozen=True)
class Image:
    """The input of a network. A size of None is dynamic; a shape of None was not written into the file."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str  # as NumPy names it, or as the file does where NumPy has no such type

    def __str__(self) -> str:
        """`uint8 [?, 224, 224, 3]`"""
        sizes = "of unknown shape" if self.shape is None else f"[{', '.join(str(n or '?') for n in self.shape)}]"
        return f"{self.dtype} {sizes}"


class Engine(Protocol):
    """A network in an inference engine, read but not yet ready to run. `where` opens every message about it."""

    where: str
    title: str  # of the engine, with its version

    @property
    def image(self) -> Image: ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that the file declares as outputs."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Every tensor that may be asked for: `outputs`, and the inner ones where the engine can give them."""

    def load(self, wanted: Sequence[str]) -> None:
        """Get ready to compute these tensors. RunError where the engine cannot."""

    def run(self, images: AnyArray) -> list[AnyArray]:
        """The tensors that were wanted, in that order. RunError where the engine fails."""

    def digests(self) -> dict[str, str]:
        """sha256 of each file that the network is made of, by the part that it plays."""


def only_input(names: Sequence[str], where: str) -> str:
    """The name of the one input. RunError for a network that has none, or more than the images."""
    if len(names) != 1:
        what = f"has {len(names)} inputs ({', '.join(names) or 'none'})"
        raise RunError(f"{where}: {what}; a teacher is fed images alone, export it with one input")
    return names[0]
