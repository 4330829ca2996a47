"""What a run leaves behind while it trains: `metrics.jsonl` always, Weights & Biases (W&B) as well where it works.

W&B never stops a run: whatever it raises costs one warning, and the run goes on with `metrics.jsonl`.
"""

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ssld.errors import RunError, did_you_mean

MODES = ("offline", "online", "disabled", "silent")
SAMPLES = 32  # rows of the sample table
QUIET = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_meta": True,  # no host name, user name, command line
    "x_disable_machine_info": True,
    "init_timeout": 30.0,  # seconds; W&B waits 90 for a server it cannot reach
    "login_timeout": 30.0,
    "finish_timeout": 120.0,  # W&B waits for ever; `wandb sync` uploads the rest
}


def start(
    folder: Path, *, name: str, run_id: str, config: dict[str, Any], mode: str = "offline", project: str = "ssld"
) -> "Track":
    """Open the track of a run folder, after whatever it holds of an interrupted run.

    `mode`: offline (W&B files in `wandb/` of the folder, no network), online (also sent), disabled (no W&B), silent
    (nothing at all: the ranks above 0). Raises RunError when `metrics.jsonl` is not what this class writes.
    """
    if mode not in MODES:
        raise RunError(f"tracking: no mode {mode!r}{did_you_mean(mode, MODES)}; choose from {', '.join(MODES)}")
    if mode == "silent":
        return Track(None)
    track = Track(folder / "metrics.jsonl")
    if mode != "disabled":
        with track.optional():
            track.wandb = _start_wandb(folder, name, run_id, config, mode, project)
    return track


def _start_wandb(folder: Path, name: str, run_id: str, config: dict[str, Any], mode: str, project: str) -> Any:
    """A W&B run whose files, staging and caches included, all lie in `wandb/` of the run folder."""
    home = folder.resolve() / "wandb"
    home.mkdir(parents=True, exist_ok=True)  # W&B itself would fall back to the system's temporary folder
    kinds = ["CACHE", "DATA", "ARTIFACT"]
    options: dict[str, Any] = {"project": project, "name": name, "id": run_id, "config": config, "mode": mode}
    if mode == "online":
        options["resume"] = "allow"  # offline, W&B cannot look up what it has: every start is a part of its own
    else:
        kinds.append("CONFIG")  # online, the user's own names the server
    os.environ |= {f"WANDB_{kind}_DIR": str(home / kind.lower()) for kind in kinds}
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # else W&B reports its own faults over the network, offline too
    import wandb

    return wandb.init(dir=str(folder), reinit="finish_previous", settings=wandb.Settings(**QUIET), **options)


class Track:
    """The record of one run. `file` None: nothing is recorded."""

    def __init__(self, file: Path | None):
        self.file = file
        self.wandb: Any = None
        self._stages: set[str] = set()
        self._offset, self._stage, self._step = 0, "", 0
        if file is not None and file.is_file():
            self._take_up(_read(file))

    def __enter__(self) -> "Track":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(failed=kind is not None)

    @property
    def step(self) -> int:
        """W&B's step, which must never fall: steps of the stage, after those of all stages before, resumed or not."""
        return self._offset + self._step

    def log(self, record: dict[str, Any]) -> None:
        """Append a record {kind, stage, step, ...} as a line; W&B gets `distill/train/loss` over `distill/step`.

        Raises RunError for a number that is not finite, and when the line cannot be written.
        """
        if self.file is None:
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
        _append(self.file, json.dumps(record) + "\n")
        self._advance(record)
        stage, kind = record["stage"], record["kind"]
        values = {
            f"{stage}/{kind}/{key}": value
            for key, value in record.items()
            if key not in ("kind", "stage", "step", "epoch")
        }
        values |= {f"{stage}/step": record["step"], f"{stage}/epoch": record.get("epoch")}
        self._send(stage, values)

    def rewind(self, stage: str, step: int) -> None:
        """Forget what `stage` logged after `step`: it resumes there, and no step shall stand in the file twice."""
        if self.file is None or not self.file.is_file():
            return
        records = _read(self.file)
        kept = [record for record in records if record["stage"] != stage or record["step"] <= step]
        if len(kept) < len(records):
            _rewrite(self.file, kept)
        self._take_up(kept)

    def summary(self, values: dict[str, Any]) -> None:
        """The numbers that runs are compared by."""
        self._tell(lambda run: run.summary.update(values))

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A W&B table; cells that are uint8 arrays [H, W, 3] become images."""

        def send(run: Any) -> None:
            import wandb

            cells = [
                [wandb.Image(cell) if isinstance(cell, np.ndarray) and cell.ndim == 3 else cell for cell in row]
                for row in rows
            ]
            run.log({name: wandb.Table(columns=list(columns), data=cells)}, step=self.step)

        self._tell(send)

    def samples(self, file: Path) -> None:
        """The first images of a samples.npz with what each network says of them, as the table `samples`."""
        if self.wandb is None or not file.is_file():
            return
        with np.load(file, allow_pickle=False) as held:
            names, arrays = held["classes"], {key: held[key][:SAMPLES] for key in held.files if key != "classes"}
        networks = [name for name in ("teacher", "baseline", "student") if name in arrays]
        rows = []
        for index, label in enumerate(arrays["label"]):
            row = [arrays["image"][index], str(names[label]) if label >= 0 else ""]
            for scores in (arrays[name][index] for name in networks):
                row += [str(names[scores.argmax()]), float(scores.max())]
            rows.append(row)
        said = [f"{name}{part}" for name in networks for part in ("", "_probability")]
        self.table("samples", ["image", "label", *said], rows)

    def artifact(self, name: str, kind: str, files: Iterable[Path], metadata: dict[str, Any]) -> None:
        """Hand files to W&B under a name; they are referred to, not copied, until they are uploaded."""

        def send(run: Any) -> None:
            import wandb

            held = wandb.Artifact(re.sub(r"[^\w.-]+", "-", name), kind, metadata=metadata)
            for file in files:
                held.add_file(str(file), name=file.name, policy="immutable")
            run.log_artifact(held)

        self._tell(send)

    def finish(self, failed: bool = False) -> None:
        """Close W&B's part; waits, for a limited time, until an online run is uploaded."""
        self._tell(lambda run: run.finish(exit_code=int(failed)))
        self.wandb = None

    def _take_up(self, records: list[dict[str, Any]]) -> None:
        self._offset, self._stage, self._step = 0, "", 0
        for record in records:
            self._advance(record)

    def _advance(self, record: dict[str, Any]) -> None:
        if record["stage"] != self._stage:
            self._offset, self._stage, self._step = self.step, record["stage"], 0
        self._step = max(self._step, record["step"])

    def _send(self, stage: str, values: dict[str, Any]) -> None:
        def send(run: Any) -> None:
            if stage not in self._stages:
                self._stages.add(stage)
                run.define_metric(f"{stage}/step", hidden=True)
                run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            run.log(values, step=self.step)

        self._tell(send)

    def _tell(self, send: Callable[[Any], Any]) -> None:
        if self.wandb is not None:
            with self.optional():
                send(self.wandb)

    @contextmanager
    def optional(self) -> Iterator[None]:
        """What fails inside is W&B's: it is left alone from then on, with one warning."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - W&B raises anything; the numbers are in metrics.jsonl
            self.wandb = None
            reason = " ".join(str(error).split())[:200]
            sys.stderr.write(
                f"warning: W&B: {type(error).__name__}: {reason}; the run goes on with metrics.jsonl alone\n"
            )


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _append(file: Path, line: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line)
    except OSError as error:
        raise RunError(
            f"{file}: cannot be written ({error.strerror}); make room and repeat the command, it resumes"
        ) from None


def _rewrite(file: Path, records: list[dict[str, Any]]) -> None:
    """Replace the file by these records, in one step: a kill leaves the old lines or the new ones."""
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    _append(partial, "".join(json.dumps(record) + "\n" for record in records))
    partial.replace(file)


def _read(file: Path) -> list[dict[str, Any]]:
    """The records of the file. A last line that a kill cut short is removed from it."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror}); choose another --out") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line else None
        except ValueError:
            record = None
        if isinstance(record, dict) and {"stage", "step"} <= record.keys():
            records.append(record)
        elif number < len(lines):
            raise RunError(f"{file}: line {number} is no record of a run; remove the file, or choose another --out")
    if lines[-1]:
        _rewrite(file, records)
    return records
