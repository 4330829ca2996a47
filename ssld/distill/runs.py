"""Define a run and its stages: a plan, the folders that it works in, and the process that works on it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from safetensors.numpy import load_file

from ssld.config import recipe
from ssld.config.recipe import Plan, Stage
from ssld.distill.arrays import Array
from ssld.interfaces import Scores, StageScores
from ssld.paths import data_root
from ssld.runtime import Runtime

MODEL, RECORD = "model.safetensors", "stage.json"  # files of a finished stage; the record is written last
HELPERS = "helpers.safetensors"  # layers of losses with which later stages begin


def of_layer(arrays: Mapping[str, Array], path: str) -> dict[str, Array]:
    """Return the arrays of a layer of a loss under the keys of its own state, from those of all layers."""
    return {key.removeprefix(f"{path}."): value for key, value in arrays.items() if key.startswith(f"{path}.")}


def peer_file(name: str) -> str:
    """Return the name of the file, in the folder of a stage, of the weights that a peer ended with."""
    return f"peer-{name}.safetensors"


class Int8Notes(TypedDict):
    """Hold what a stage in int8 noted: its layers, those of them that stay float, and their sensitivities in nats.

    The sensitivities are measured only where some layers stay float.
    """

    layers: list[str]
    kept_float: list[str]
    sensitivity: dict[str, float]


class StageMade(TypedDict):
    """Hold what every stage records of itself beside its scores."""

    digest: str
    network: str  # the student, or the name of a teacher
    size: int  # pixels of the evaluation
    ranks: int
    sha256: str  # of the weights


class PeerRecord(Scores):
    """Hold the scores of a peer of a finished stage, its architecture, and the sha256 of its weights."""

    network: str
    sha256: str


class StageRecord(StageMade, StageScores, total=False):
    """Hold what a finished stage records of itself: its scores, its digest, and where its labels came from.

    In `peers` there is a `PeerRecord` of each network that it trained beside its own.
    """

    helpers: str  # sha256 of the layers of losses that it hands on
    teacher_engine: str
    labels: str  # folder of its label cache
    int8: Int8Notes


@dataclass(frozen=True)
class Run:
    """Hold a plan, its folders and the process that works on it.

    `plan` is the checked recipe. `folder` is where stages, result and export are written. `data_root` is the folder
    that list files are relative to. `runtime` is this process among its ranks.
    """

    plan: Plan
    folder: Path
    data_root: Path
    runtime: Runtime

    @classmethod
    def of_plan(cls, plan: Plan, folder: Path, runtime: Runtime) -> Run:
        """Return the run of a plan in a folder. A smoke run keeps its images in its own folder."""
        return cls(plan, folder, folder if plan.scope == "smoke" else data_root(), runtime)

    @classmethod
    def of_folder(cls, folder: Path, runtime: Runtime) -> Run:
        """Return the finished run of a folder.

        Raises RunError where the folder holds no run, and where the run is not finished.
        """
        return cls.of_plan(recipe.of_finished_run(folder), folder, runtime)

    @cached_property
    def stages(self) -> dict[str, StageRun]:
        """Map the name of each stage to the stage, in their order."""
        return {name: StageRun(self, name) for name in self.plan.stages}

    def stage(self, name: str) -> StageRun:
        """Return the stage of this name."""
        return self.stages[name]

    @property
    def last(self) -> StageRun:
        """Return the stage whose result is the student."""
        return self.stages[self.plan.last]

    @property
    def alone(self) -> Run:
        """Return the same run as one process without other ranks."""
        return replace(self, runtime=Runtime(rank=0, world=1, gpu=self.runtime.gpu))

    @property
    def is_smoke(self) -> bool:
        """Return whether this is a smoke run."""
        return self.plan.scope == "smoke"


@dataclass(frozen=True)
class StageRun:
    """Represent one stage of a run."""

    run: Run
    name: str

    @property
    def plan(self) -> Plan:
        """Return the plan of the run."""
        return self.run.plan

    @property
    def runtime(self) -> Runtime:
        """Return the process of the run."""
        return self.run.runtime

    @property
    def settings(self) -> Stage:
        """Return the block of the recipe that describes the stage."""
        return self.plan.stages[self.name]

    @cached_property
    def digest(self) -> str:
        """Return the digest that names what the stage depends on, see `Plan.stage_digest`."""
        return self.plan.stage_digest(self.name)

    @property
    def folder(self) -> Path:
        """Return the folder of the stage, which is named by its digest."""
        return self.run.folder / "stages" / f"{self.name}-{self.digest[:8]}"

    @property
    def model_file(self) -> Path:
        """Return the file of the weights that the stage ended with."""
        return self.folder / MODEL

    @property
    def helpers_file(self) -> Path:
        """Return the file of the layers of losses that later stages begin with."""
        return self.folder / HELPERS

    def handed(self, terms: Collection[str]) -> dict[str, Array]:
        """Return the arrays that the layers of these terms ended with, by keys such as `paraphrase.encode.0.bias`."""
        arrays = load_file(self.helpers_file)
        return {key: value for key, value in arrays.items() if key.partition(".")[0] in terms}

    @property
    def taken(self) -> dict[str, dict[str, Array]]:
        """Return what layers of losses begin with, for `Job.helpers`, from the finished stages that `helpers` names."""
        begin = {}
        for target, source in self.settings.helpers.items():
            of, path = source.split(".", 1)
            arrays = self.run.stage(of).handed({path.partition(".")[0]})
            begin[target] = of_layer(arrays, path)
        return begin

    def file_of_peer(self, name: str) -> Path:
        """Return the file of the weights that a peer of the stage ended with."""
        return self.folder / peer_file(name)

    @property
    def is_done(self) -> bool:
        """Return whether the stage is finished."""
        return (self.folder / RECORD).is_file()

    @property
    def start(self) -> StageRun | None:
        """Return the earlier stage whose result this stage continues, or None where it starts otherwise."""
        name = self.settings.continues
        return self.run.stage(name) if name else None

    def record(self) -> StageRecord:
        """Return what a finished stage records of itself."""
        record: StageRecord = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return record
