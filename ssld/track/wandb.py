"""This module writes a run to Weights & Biases (W&B), offline or online.

Offline, W&B cannot look up what it has of a run, and `wandb sync` has let the last of several parts with one id replace
the others (W&B's issues 3841 and 5865). So a run that resumes writes its offline part anew from `metrics.jsonl`, whole:
one part, one curve. Online it goes on where the server's copy ends.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssld.errors import RunError
from ssld.interfaces import Record
from ssld.track.logger import AXES, About, Artifact, Cell, Logger

QUIET = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_meta": True,  # W&B then records no command line
    "x_disable_machine_info": True,
    "host": "",  # with None W&B takes the name of this machine
    "username": "",
    "init_timeout": 30.0,  # seconds; W&B waits 90 for a server it cannot reach
    "login_timeout": 30.0,
    "finish_timeout": 120.0,  # W&B would wait for ever; `wandb sync` uploads the rest
}
LONGEST = 128  # characters of an artifact's name
BEST = {"eval/top1": "max", "eval/loss": "min"}  # these are also kept in the summary, as `<stage>/eval/top1.max`


class Wandb(Logger):
    """Keep a W&B run whose files, staging and caches included, all lie in `wandb/` of the run folder."""

    name = "W&B"

    def __init__(self, folder: Path, about: About, mode: str, project: str, tags: tuple[str, ...] = ()):
        self.folder, self.about, self.online = folder, about, mode == "online"
        self.run: Any = None
        self._options: dict[str, Any] = {
            "project": project,
            "name": about.name,
            "id": about.run_id,
            "group": about.group or None,
            "job_type": about.job,
            "tags": [tag[:64] for tag in (*about.tags, *tags)],  # W&B takes no longer tags
            "config": flat(about.config),
            "mode": mode,
            "resume": "allow" if self.online else None,
        }

    def begin(self, records: Iterable[tuple[int, Record]]) -> None:
        self._open()
        for step, record in records:
            if step >= self.run.starting_step:  # it is 0 offline, and for a run that the server does not know
                self.log(step, record)

    def _open(self) -> None:
        """Begin or continue the W&B run."""
        folder = self.folder.resolve()  # W&B writes in a process of its own, which keeps the folder it was started in
        home = folder / "wandb"
        home.mkdir(parents=True, exist_ok=True)  # without it W&B would use the system's temporary folder
        # Online, the server's address is in the user's own configuration.
        kinds = ["CACHE", "DATA", "ARTIFACT"] + ([] if self.online else ["CONFIG"])
        os.environ |= {f"WANDB_{kind}_DIR": str(home / kind.lower()) for kind in kinds}
        os.environ["WANDB_ERROR_REPORTING"] = (
            "false"  # otherwise W&B reports its own faults over the network, offline too
        )
        import wandb

        if self.run is not None:
            self.run.finish()
        if not self.online:
            for part in home.glob(f"offline-run-????????_??????-{self.about.run_id}"):
                shutil.rmtree(part)  # its numbers come from metrics.jsonl, the rest is made at the end of a run
        self._stages: set[str] = set()
        self._step = 0
        settings = wandb.Settings(**QUIET)
        self.run = wandb.init(dir=str(folder), reinit="finish_previous", settings=settings, **self._options)

    def log(self, step: int, record: Record) -> None:
        stage, kind, self._step = str(record["stage"]), record["kind"], step
        if stage not in self._stages:
            self._stages.add(stage)
            self._define(stage)
        values = {f"{stage}/{axis}": record.get(axis) for axis in AXES}
        values |= {
            f"{stage}/{kind}/{key}": value for key, value in record.items() if key not in ("kind", "stage", *AXES)
        }
        self.run.log({key: value for key, value in values.items() if value is not None}, step=step)

    def _define(self, stage: str) -> None:
        """Draw the curves of a stage over its own step; epoch and images can be chosen too."""
        for axis in AXES:
            self.run.define_metric(f"{stage}/{axis}", hidden=True)
        usual = f"{stage}/{AXES[0]}"
        for key, best in BEST.items():
            self.run.define_metric(f"{stage}/{key}", step_metric=usual, summary=best)
        self.run.define_metric(f"{stage}/*", step_metric=usual)

    def summary(self, values: dict[str, Any]) -> None:
        self.run.summary.update(values)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        import wandb

        cells = [[wandb.Image(cell) if isinstance(cell, np.ndarray) else cell for cell in row] for row in rows]
        self.run.log({name: wandb.Table(columns=list(columns), data=cells)}, step=self._step)

    def artifact(self, item: Artifact) -> None:
        """Record an artifact. Its metadata says what an output was made from.

        Inputs are declared online only, because W&B cannot do it offline.
        """
        import wandb

        if item.used and not self.online:
            return
        made_from = {artifact_name(name): digest for name, digest in item.made_from.items()}
        metadata = {"name": item.name, "digest": item.digest, "made_from": made_from, **item.metadata}
        artifact = wandb.Artifact(artifact_name(item.name), item.kind, metadata=metadata)
        for file in item.files:
            if item.copied:
                # It is not copied here, only when it is uploaded.
                artifact.add_file(str(file), name=file.name, policy="immutable")
            else:
                artifact.add_reference(file.resolve().as_uri(), name=file.name, checksum=False)
        if item.used:
            self.run.use_artifact(artifact)
        else:
            self.run.log_artifact(artifact)

    def alert(self, title: str, text: str) -> None:
        self.run.alert(title, text, level="ERROR")

    def finish(self, failed: bool) -> None:
        if self.run is not None:
            self.run.finish(exit_code=int(failed))


def check_login() -> None:
    """Raise RunError where an online run would send nothing: where W&B is missing, or nobody is logged in to it.

    The server is not asked.
    """
    instead = "or use --wandb offline"
    try:
        import wandb
    except ModuleNotFoundError:
        raise RunError(f"--wandb online: W&B is not installed; pip install wandb, {instead}") from None
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    if not wandb.login(prompt=False, verify=False):
        raise RunError(f"--wandb online: nobody is logged in to W&B here; `wandb login`, set WANDB_API_KEY, {instead}")


def artifact_name(name: str) -> str:
    """Return a name as W&B takes one: letters and digits of ASCII, dashes, underscores and dots, at most LONGEST.

    A name in another script, or a longer one, ends with the beginning of its sha256, so that two names stay two.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    if name.isascii() and len(plain) <= LONGEST:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: LONGEST - 9].strip('-')}-{digest}".lstrip("-")


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Return nested mappings as one, under dotted keys as an override or a sweep names them."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree} if path else {}
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{path}.{key}" if path else str(key))
    return result
