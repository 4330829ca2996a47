"""This module keeps metrics.jsonl, one record a line. Every other logger is filled from it when a run resumes."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ssld.errors import RunError
from ssld.faults import moment
from ssld.files import damaged, json_digest, read_lines, write_whole, writing
from ssld.interfaces import Curve, Record
from ssld.spec.printable import printable
from ssld.track.logger import Logger

ADVICE = "remove the file, with which only curves are lost, or choose another --out"
RESUMES = "repeat the command, it resumes"


class Jsonl(Logger):
    """Keep the file metrics.jsonl.

    Unlike other loggers it stops the run (RunError) when the file cannot be written, or is not what it wrote.
    """

    name = "metrics.jsonl"

    def __init__(self, file: Path):
        self.file = file
        self._count = Count()
        for _ in self.records() if file.is_file() else ():
            pass  # the count goes on where the file ends

    def log(self, step: int, record: Record) -> None:
        _append(self.file, json.dumps(record) + "\n")

    def advance(self, record: Record) -> int:
        """Return the step of the next record, counted over all stages."""
        return self._count.advance(record)

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield all records with their steps, counted anew."""
        self._count = Count()
        for record in _read(self.file) if self.file.is_file() else ():
            yield self.advance(record), record

    def curve(self, stage: str) -> Curve:
        """Return what tells the records of a stage from others, see `curve_of`."""
        return curve_of(record for _, record in self.records() if record["stage"] == stage)

    def rewind(self, stage: str, step: int, evaluated: bool = True) -> bool:
        """Drop what `stage` logged after `step`, and without `evaluated` its evaluation there; return whether there was
        any.
        """
        records = _read(self.file) if self.file.is_file() else []
        last_evaluation = step if evaluated else step - 1

        def stays(record: Record) -> bool:
            last = last_evaluation if record.get("kind") == "eval" else step
            return record["stage"] != stage or int(record["step"]) <= last

        remaining = [record for record in records if stays(record)]
        if len(remaining) < len(records):
            _rewrite(self.file, remaining)
        return len(remaining) < len(records)


class Count:
    """Count a step that never falls: the steps of the stage, after those of all stages before."""

    def __init__(self) -> None:
        self._before, self._stage, self._step = 0, "", 0

    def advance(self, record: Record) -> int:
        """Return the step of a record, counted over all stages."""
        if record["stage"] != self._stage:
            self._before, self._stage, self._step = self._before + self._step, str(record["stage"]), 0
        self._step = max(self._step, int(record["step"]))
        return self._before + self._step


def curve_of(records: Iterable[Record]) -> Curve:
    """Return the number of some records and the sha256 of what they say.

    A finished stage and each of its checkpoints keep it, so that lines that were lost or changed are noticed.
    """
    kept = list(records)
    return {"records": len(kept), "sha256": json_digest(kept)}


def records_of(file: Path, stage: str) -> list[Record]:
    """Return the records of a stage in a file that another run may be writing; the file is not changed.

    Raises RunError where the file is damaged.
    """
    return [record for record in read_lines(file, "")[0] if record.get("stage") == stage and "step" in record]


def warn(text: str) -> None:
    """Write a warning of one line on standard error; what cannot be printed is escaped."""
    sys.stderr.write(f"warning: {printable(text)}\n")


def _append(file: Path, line: str) -> None:
    """Append a line to a file. Raises RunError where that fails."""
    with writing(file, RunError, RESUMES), file.open("a", encoding="utf-8") as stream:
        moment("begun", file)
        stream.write(line)
    moment("added", file)


def _rewrite(file: Path, records: Iterable[Record]) -> None:
    """Replace the file by these records, in one step: a kill leaves the old lines or the new ones."""
    with writing(file, RunError, RESUMES):
        write_whole(file, "".join(json.dumps(record) + "\n" for record in records))


def _read(file: Path) -> list[dict[str, Any]]:
    """Return the records of the file. A last line that a kill cut short is removed from it.

    Where that is not the beginning of a record, a line on standard error says so.
    """
    records, rest = read_lines(file, ADVICE)
    for number, record in enumerate(records, 1):
        if not {"stage", "step"} <= record.keys():
            raise damaged(file, f"line {number} is no record of a run", ADVICE)
    if rest:
        _rewrite(file, records)
        if not rest.startswith(b"{"):
            what = f"its last {len(rest)} bytes are no record and were removed"
            warn(f"{file}: damaged ({what}); the curves are not whole")
    return records
