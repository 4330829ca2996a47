"""This module records one run in `metrics.jsonl` and passes every record on to all loggers.

A logger never stops a run: whatever it raises costs one warning, and the run goes on without it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ssld.errors import RunError, SsldError, did_you_mean
from ssld.files import read_arrays
from ssld.interfaces import Curve, Record
from ssld.spec.choices import WANDB_MODES
from ssld.track.jsonl import Jsonl, curve_of, records_of, warn
from ssld.track.logger import About, Artifact, Cell, Logger
from ssld.track.tensorboard import TensorBoard
from ssld.track.wandb import Wandb, check_login

MODES = (*WANDB_MODES, "silent")
SAMPLES = 32  # the sample table has so many rows


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say which loggers a run has beside `metrics.jsonl`.

    wandb: offline (W&B files in `wandb/` of the run folder, no network), online (also sent), disabled (no W&B), silent
    (nothing at all, not even `metrics.jsonl`: the ranks above 0).
    """

    wandb: str = "offline"
    project: str = "ssld"
    tags: tuple[str, ...] = ()
    tensorboard: bool = False


def start(folder: Path, about: About, options: Options) -> "Track":
    """Open the track of a run folder, after whatever it holds of an interrupted run.

    Raises RunError when `metrics.jsonl` is not what it writes, where TensorBoard is asked for and not installed, and
    where W&B is asked to send the run and nobody is logged in.
    """
    check(options)
    mode = options.wandb
    if mode == "silent":
        return Track(None)
    loggers: list[Logger] = []
    if mode != "disabled":
        loggers.append(Wandb(folder, about, mode, options.project, options.tags))
    if options.tensorboard:
        loggers.append(TensorBoard(folder))
    metrics = Jsonl(folder / "metrics.jsonl") if about.job == "train" else None  # only a training has curves
    return Track(metrics, loggers, about.name)


def check(options: Options) -> None:
    """Raise RunError where a logger that is asked for cannot be had, before work begins that may take weeks."""
    mode = options.wandb
    if mode not in MODES:
        raise RunError(f"tracking: no mode {mode!r}{did_you_mean(mode, MODES)}; choose from {', '.join(MODES)}")
    if mode == "online":
        check_login()
    if options.tensorboard:
        TensorBoard(Path())


class Track:
    """Record everything that a run reports. Without `metrics` the run has no curves."""

    def __init__(self, metrics: Jsonl | None, loggers: Sequence[Logger] = (), name: str = "run"):
        self.metrics, self.loggers, self.name = metrics, list(loggers), name
        self._begun = False

    def __enter__(self) -> "Track":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SsldError):  # for example a loss that became NaN, or a full disk
            self.alert(f"{self.name} stopped", str(error))
        self.finish(failed=kind is not None)

    def log(self, record: Record) -> None:
        """Keep a record {kind, stage, step, epoch, images, numbers}.

        Raises RunError for a number that is not finite, and when the line cannot be written.
        """
        if self.metrics is None:
            return
        record = {key: _number(value) for key, value in record.items()}
        if bad := [
            f"{key} is {value}"
            for key, value in record.items()
            if isinstance(value, float) and not math.isfinite(value)
        ]:
            raise RunError(
                f"stage {record['stage']}, step {record['step']}: {', '.join(bad)}; lower optim.lr, or look at the data"
            )
        self.begin()  # this comes before the line is in the file, or loggers would get it twice
        step = self.metrics.advance(record)
        self.metrics.log(step, record)
        self._tell(lambda logger: logger.log(step, record))

    def rewind(self, stage: str, step: int, evaluated: bool = True, curve: Curve | None = None) -> None:
        """Forget what `stage` logged after `step`: it resumes there, and no logger may get a step twice.

        Without `evaluated` the evaluation after `step` is forgotten too, because it is made again. `curve` is what
        `curve` returned at that step. A line on standard error says where the first records of the stage are no longer
        those.
        """
        if self.metrics is None:
            return
        if self.metrics.rewind(stage, step, evaluated):
            self._begun = False
        self.begin()
        records = [record for _, record in self.metrics.records() if record["stage"] == stage]
        if curve and curve_of(records[: curve["records"]]) != curve:
            what = f"what stage {stage} logged before step {step} was lost or changed"
            warn(f"{self.metrics.file}: {what}; the training is not affected, its curve is")

    def curve(self, stage: str) -> Curve | None:
        """Return what tells the records of a stage from others; None where no records are kept."""
        return None if self.metrics is None else self.metrics.curve(stage)

    def adopt(self, stage: str, file: Path, curve: Curve | None = None) -> None:
        """Keep what another run's `metrics.jsonl` holds of a stage whose result is taken over from there.

        `curve` is what that run noted of it. Where the file is damaged, a line on standard error says so, and the stage
        has no curve here.
        """
        if self.metrics is None or not file.is_file():
            return
        self.rewind(stage, -1)
        try:
            records = records_of(file, stage)
        except RunError as error:
            warn(f"{error}; the curve of stage {stage} is not taken over")
            return
        if curve and curve_of(records) != curve:
            warn(f"{file}: damaged; the curve of stage {stage} is not taken over")
            return
        for record in records:
            self.log(record)

    def begin(self) -> None:
        """Bring every logger to what `metrics.jsonl` holds, once; a run that is resumed rewinds before that."""
        if not self._begun:
            self._begun = True
            records = list(self.metrics.records()) if self.metrics is not None else []
            self._tell(lambda logger: logger.begin(records))

    def summary(self, values: dict[str, Any]) -> None:
        """Pass on the numbers that runs are compared by."""
        self.begin()
        self._tell(lambda logger: logger.summary(values))

    def samples(self, file: Path) -> None:
        """Pass on the first images of a samples.npz with what each network answers, as the table `samples`."""
        if self.loggers and file.is_file():
            columns, rows = sample_rows(file)
            self.begin()
            self._tell(lambda logger: logger.table("samples", columns, rows))

    def artifact(self, item: Artifact) -> None:
        """Pass on what the run used or made."""
        self.begin()
        self._tell(lambda logger: logger.artifact(item))

    def alert(self, title: str, text: str) -> None:
        """Pass on something that somebody should look at."""
        self.begin()
        self._tell(lambda logger: logger.alert(title, text))

    def finish(self, failed: bool = False) -> None:
        """Close the loggers; wait, for a limited time, until an online run is uploaded."""
        self._tell(lambda logger: logger.finish(failed))
        self.loggers = []

    def _tell(self, say: Callable[[Logger], None]) -> None:
        """Call every logger. One that raises is left out from then on, with one warning."""
        for logger in list(self.loggers):
            try:
                say(logger)
            except Exception as error:  # noqa: BLE001 - W&B raises anything; the numbers are in metrics.jsonl
                self.loggers.remove(logger)
                reason = " ".join(str(error).split())[:200]
                what = f"{logger.name}: {type(error).__name__}: {reason}"
                warn(f"{what}; the run goes on without it, its numbers are in metrics.jsonl")


def sample_rows(file: Path) -> tuple[list[str], list[list[Cell]]]:
    """Return columns and rows of a samples.npz.

    They are image, label, and of every network its answer and the answer's probability. Raises RunError where the file
    is damaged.
    """
    content = read_arrays(file, "remove it, and repeat the `ssld run` command of this run")
    names, arrays = content["classes"], {key: array[:SAMPLES] for key, array in content.items() if key != "classes"}
    networks = [name for name in ("teacher", "baseline", "student") if name in arrays]
    rows: list[list[Cell]] = []
    for index, label in enumerate(arrays["label"]):
        row: list[Cell] = [arrays["image"][index], str(names[label]) if label >= 0 else ""]
        for scores in (arrays[name][index] for name in networks):
            row += [str(names[scores.argmax()]), float(scores.max())]
        rows.append(row)
    return ["image", "label", *(f"{name}{part}" for name in networks for part in ("", "_probability"))], rows


def _number(value: str | int | float) -> str | int | float:
    """Return a number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value
