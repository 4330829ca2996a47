"""This module writes event files for TensorBoard and viewers of its format.

Each stage has a folder, and its curves are drawn over its own step.
"""

import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssld.errors import RunError
from ssld.interfaces import Record
from ssld.spec.names import check_name
from ssld.spec.printable import in_markdown
from ssld.track.logger import AXES, Cell, Logger

RESULT = "result"  # this folder holds what belongs to no stage
FLUSH = 10  # so many seconds pass until a curve on the screen goes on


class TensorBoard(Logger):
    """It writes `tensorboard/<stage>/` of the run folder, anew from `metrics.jsonl` when a run resumes."""

    name = "TensorBoard"

    def __init__(self, folder: Path):
        """Choose the folder. Raises RunError where the library that writes the files is missing."""
        try:
            import tensorboardX  # noqa: F401
        except ModuleNotFoundError:
            what = "tensorboardX is not installed"
            raise RunError(f'--tensorboard: {what}; pip install "ssld[tensorboard]", or leave the option out') from None
        self.folder = folder / "tensorboard"
        self._writers: dict[str, Any] = {}

    def begin(self, records: Iterable[tuple[int, Record]]) -> None:
        self.finish(failed=False)
        for file in self.folder.glob("*/events.out.tfevents.*"):
            file.unlink()
        for step, record in records:
            self.log(step, record)

    def log(self, step: int, record: Record) -> None:
        writer = self._writer(str(record["stage"]))
        for key, value in record.items():
            if key not in ("kind", "stage", *AXES):
                writer.add_scalar(f"{record['kind']}/{key}", value, record["step"])

    def summary(self, values: dict[str, Any]) -> None:
        self._text("summary", ["number", "value"], [[key, value] for key, value in values.items()])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        for number, row in enumerate(rows):
            for column, cell in zip(columns, row, strict=True):
                if isinstance(cell, np.ndarray):
                    self._writer(RESULT).add_image(f"{name}/{number:02d}_{column}", cell, 0, dataformats="HWC")
        text_columns = [
            column for column, cell in zip(columns, rows[0], strict=True) if not isinstance(cell, np.ndarray)
        ]
        self._text(name, text_columns, [[cell for cell in row if not isinstance(cell, np.ndarray)] for row in rows])

    def alert(self, title: str, text: str) -> None:
        self._writer(RESULT).add_text("alert", f"**{title}**: {text}", 0)

    def finish(self, failed: bool) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _text(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write a table in Markdown, which viewers draw."""
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(map(in_markdown, line)) + " |" for line in lines)
        self._writer(RESULT).add_text(name, text, 0)

    def _writer(self, stage: str) -> Any:
        """Return the writer of a stage."""
        if stage not in self._writers:
            check_name(stage, f"{self.folder.parent / 'metrics.jsonl'}: stage", RunError)
            from tensorboardX import SummaryWriter

            self._writers[stage] = SummaryWriter(str(self.folder / stage), flush_secs=FLUSH)
            _forget_host(self.folder / stage)
        return self._writers[stage]


def _forget_host(folder: Path) -> None:
    """Take the name of this machine, with which tensorboardX ends them, from the names of event files."""
    host = socket.gethostname()
    for file in folder.glob("events.out.tfevents.*"):
        if host and file.name.endswith(f".{host}"):
            file.rename(file.with_name(file.name.removesuffix(host) + "ssld"))
