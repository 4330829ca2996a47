"""A run and its stages: a plan, the folders that it works in, and the process that works on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ssld.config import recipe
from ssld.config.recipe import Plan, Stage
from ssld.paths import data_root
from ssld.runtime import Runtime

MODEL, RECORD = "model.safetensors", "stage.json"  # of a finished stage; the record comes last


@dataclass(frozen=True)
class Run:
    """plan: the recipe, checked. folder: where stages, result and export go. data_root: the folder that list files are
    relative to. runtime: this process among its ranks.
    """

    plan: Plan
    folder: Path
    data_root: Path
    runtime: Runtime

    @classmethod
    def of_plan(cls, plan: Plan, folder: Path, runtime: Runtime) -> Run:
        """The run of a plan in a folder. A smoke run keeps its images in its own folder."""
        return cls(plan, folder, folder if plan.scope == "smoke" else data_root(), runtime)

    @classmethod
    def of_folder(cls, folder: Path, runtime: Runtime) -> Run:
        """The finished run of a folder. RunError where the folder holds no run, and where the run is not finished."""
        return cls.of_plan(recipe.of_finished_run(folder), folder, runtime)

    @cached_property
    def stages(self) -> dict[str, StageRun]:
        """Name -> stage, in their order."""
        return {name: StageRun(self, name) for name in self.plan.stages}

    def stage(self, name: str) -> StageRun:
        return self.stages[name]

    @property
    def last(self) -> StageRun:
        """The stage whose result is the student."""
        return self.stages[self.plan.last]

    @property
    def alone(self) -> Run:
        """The same run as one process without other ranks."""
        return replace(self, runtime=Runtime(rank=0, world=1, gpu=self.runtime.gpu))

    @property
    def is_smoke(self) -> bool:
        return self.plan.scope == "smoke"


@dataclass(frozen=True)
class StageRun:
    """One stage of a run."""

    run: Run
    name: str

    @property
    def plan(self) -> Plan:
        return self.run.plan

    @property
    def runtime(self) -> Runtime:
        return self.run.runtime

    @property
    def settings(self) -> Stage:
        """Its block of the recipe."""
        return self.plan.stages[self.name]

    @cached_property
    def digest(self) -> str:
        """Names what it depends on, see `Plan.stage_digest`."""
        return self.plan.stage_digest(self.name)

    @property
    def folder(self) -> Path:
        return self.run.folder / "stages" / f"{self.name}-{self.digest[:8]}"

    @property
    def model_file(self) -> Path:
        """The weights that it ended with."""
        return self.folder / MODEL

    @property
    def is_done(self) -> bool:
        return (self.folder / RECORD).is_file()

    @property
    def start(self) -> StageRun | None:
        """The earlier stage whose result it continues, None where it starts otherwise."""
        name = self.settings.continues
        return self.run.stage(name) if name else None

    def record(self) -> dict[str, Any]:
        """What a finished stage keeps of itself: its scores, its digest, where its labels came from."""
        kept: dict[str, Any] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return kept
