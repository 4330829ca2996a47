"""Define a run and its stages: a plan, the folders that it works in, and the process that works on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TypedDict, cast

from safetensors.numpy import load_file

from ssld.config import recipe
from ssld.config.recipe import Plan, Stage
from ssld.config.run_folder import AGAIN
from ssld.distill.arrays import Array
from ssld.errors import RunError, SsldError
from ssld.files import damaged, read_json, sha256
from ssld.interfaces import Curve, Scores, StageScores
from ssld.paths import data_root
from ssld.progress import note
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
    """Hold what the training of every stage records of itself beside its scores."""

    network: str  # the student, or the name of a teacher
    size: int  # pixels of the evaluation
    ranks: int
    start: str  # digest of the weights that the training began with
    made_of: str  # digest of what made the stage, see `reuse.made_of`
    curve: Curve | None  # tells what the stage logged


class PeerRecord(Scores):
    """Hold the scores of a peer of a finished stage, its architecture, and the sha256 of its weights."""

    network: str
    sha256: str


class StageRecord(StageMade, StageScores, total=False):
    """Hold what a finished stage records of itself: its scores, its digest, and where its labels came from.

    In `peers` there is a `PeerRecord` of each network that it trained beside its own.
    """

    digest: str
    sha256: str  # of the weights
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
        """Return the file of the weights that the stage ended with. Who reads it asks `weights_file`."""
        return self.folder / MODEL

    def weights_file(self) -> Path:
        """Return the file of the weights that the stage ended with, which are those that its record names.

        Raises RunError where the stage is not finished, or one of its files is damaged.
        """
        if reason := damage(self.folder, self.digest):
            raise RunError(f"{self.folder}: {reason}; {AGAIN}")
        return self.model_file

    @property
    def helpers_file(self) -> Path:
        """Return the file of the layers of losses that later stages begin with."""
        return self.folder / HELPERS

    def handed(self, terms: Collection[str]) -> dict[str, Array]:
        """Return the arrays that the layers of these terms ended with, by keys such as `paraphrase.encode.0.bias`."""
        self.weights_file()  # which looks at all files of the stage
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
        """Return the file of the weights that a peer of the stage ended with. Who reads it asks `peers_weights`."""
        return self.folder / peer_file(name)

    def peers_weights(self, name: str) -> Path:
        """Return what `file_of_peer` says. Raises RunError as `weights_file` does."""
        self.weights_file()
        return self.file_of_peer(name)

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
        """Return what a finished stage records of itself.

        Raises RunError where the record is missing, damaged or that of another stage.
        """
        return record_of(self.folder, self.digest)


def record_of(folder: Path, digest: str | None = None, advice: str = AGAIN) -> StageRecord:
    """Return the record of a finished stage, which names the `digest` of the stage where one is given.

    Raises RunError, whose message ends with `advice`, where it is missing or damaged, or names another digest.
    """
    record = read_json(folder / RECORD, advice)
    if digest is not None and record.get("digest") != digest:
        raise damaged(folder / RECORD, "it is of another stage", advice)
    return cast(StageRecord, record)


def damage(folder: Path, digest: str | None = None) -> str | None:
    """Return, in words, what is wrong with the files of a finished stage, or None where nothing is.

    The weights have the sha256 that the record says, and the record the `digest`, where one is given. Records of early
    versions name no sha256; a line says so once, and their weights are used.
    """
    try:
        files = weights_files(record_of(folder, digest, ""))
    except SsldError as error:
        return str(error).removeprefix(f"{folder}/")
    for name, recorded in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if recorded is None:
            _tell_unchecked(folder)
            continue
        try:
            if recorded != sha256(folder / name):
                return f"{name} is damaged (sha256)"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def weights_files(record: StageRecord) -> dict[str, str | None]:
    """Map the files of weights that a finished stage has to their sha256, None where its record does not name it."""
    peers = cast("Mapping[str, PeerRecord]", record.get("peers", {}))
    handed = {HELPERS: record["helpers"]} if "helpers" in record else {}
    return {MODEL: record.get("sha256"), **handed, **{peer_file(name): peer["sha256"] for name, peer in peers.items()}}


@cache
def _tell_unchecked(folder: Path) -> None:
    note(f"{folder}: an early version wrote {RECORD}, without the sha256 of {MODEL}: it is used as it is")
