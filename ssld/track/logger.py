"""This module defines what a run reports, and the one interface of everything that shows a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssld.interfaces import Record

Cell = str | int | float | np.ndarray  # an array is an image uint8 [H, W, 3]
AXES = ("step", "epoch", "images")  # curves are drawn over these keys of a record; the first one is the usual choice


@dataclass(frozen=True, kw_only=True)
class About:
    """Describe a run as a logger names it. `group`: runs that may be compared over seeds. `job`: train or label."""

    name: str
    run_id: str
    group: str = ""
    job: str = "train"
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)  # the whole plan


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Hold files under a name. `digest` says what made them; `made_from` names, by digest, what they were made with."""

    name: str
    kind: str  # model or dataset
    files: tuple[Path, ...]
    digest: str
    made_from: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    used: bool = False  # True for an input of the run, False for an output
    copied: bool = True  # True: an online run uploads the files; False: only their place is recorded


class Logger:
    """Show a run in one way. A method that a logger leaves out does nothing.

    A record is {kind: train or eval, stage, step, epoch, images, and numbers}. The `step` beside it counts over all
    stages.
    """

    name = "logger"

    def begin(self, records: Iterable[tuple[int, Record]]) -> None:
        """Show exactly these (step, record) pairs.

        It is called first, and again when a resumed stage takes steps back.
        """

    def log(self, step: int, record: Record) -> None:
        """Show one more record."""

    def summary(self, values: dict[str, Any]) -> None:
        """Show the numbers that runs are compared by."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show rows of text, numbers, and images as uint8 arrays [H, W, 3]."""

    def artifact(self, item: Artifact) -> None:
        """Show what the run used or made."""

    def alert(self, title: str, text: str) -> None:
        """Show something that somebody should look at."""

    def finish(self, failed: bool) -> None:
        """Close the logger; this is the last call."""
