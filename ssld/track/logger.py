"""What a run tells, and who listens: the one interface of everything that shows a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]
AXES = ("step", "epoch", "images")  # keys of a record that curves are drawn over; the first one is the usual choice


@dataclass(frozen=True, kw_only=True)
class About:
    """A run as a logger names it. `group`: runs that may be compared over seeds; `job`: train or label."""

    name: str
    run_id: str
    group: str = ""
    job: str = "train"
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)  # the whole plan


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Files under a name. `digest` says what made them, `made_from` names what they were made with, by digest."""

    name: str
    kind: str  # model or dataset
    files: tuple[Path, ...]
    digest: str
    made_from: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    used: bool = False  # an input of the run, else its output
    copied: bool = True  # uploaded where the run is online; else only where it lies is kept


class Logger:
    """One way to show a run; a method that a logger leaves out does nothing.

    A record is {kind: train or eval, stage, step, epoch, images, and numbers}. `step` beside it counts over all stages.
    """

    name = "logger"

    def begin(self, records: Iterable[tuple[int, Record]]) -> None:
        """Show exactly these (step, record) pairs. Comes first, and again when a resumed stage takes steps back."""

    def log(self, step: int, record: Record) -> None:
        """One more record."""

    def summary(self, values: dict[str, Any]) -> None:
        """The numbers that runs are compared by."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows of text, numbers, and images as uint8 arrays [H, W, 3]."""

    def artifact(self, item: Artifact) -> None:
        """What the run used or made."""

    def alert(self, title: str, text: str) -> None:
        """Something that somebody should look at."""

    def finish(self, failed: bool) -> None:
        """The last call."""
