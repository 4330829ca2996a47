"""What a recipe says of its teachers: where each comes from, what it is fed, and how several are combined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Literal

from ssld.config.foreign import AccuracyCheck, InputSpec, NetworkSpec, check_accuracy_check, check_network
from ssld.config.keys import key, plain
from ssld.errors import RecipeError

Source = Literal["card", "stage", "run", "onnx", "program", "weights"]
SOURCES: tuple[Source, ...] = ("card", "stage", "run", "onnx", "program")
"""Keys of which a teacher has exactly one; a teacher without any of them is a network with the file of `weights`."""
FOREIGN: tuple[Source, ...] = ("onnx", "program")
"""Sources of networks that another framework made or that are no network of Paddle's layers any more."""

OWN_NETWORK = ("card", "stage", "run", "weights")
BELONGS: dict[str, tuple[str, ...]] = {
    "arch": ("stage", "weights"),
    "code": ("stage", "weights"),
    "options": ("stage", "weights"),
    "weights": ("card", "weights"),
    "bn_momentum": OWN_NETWORK,
    "engine": OWN_NETWORK,
    "input": (*FOREIGN, "weights"),
    "gives": FOREIGN,
    "output": FOREIGN,
    "classes_file": FOREIGN,
    "taps": (*FOREIGN, "stage", "weights"),
    "gate_points": ("card",),
    "least_top1": (*FOREIGN, "run", "weights"),
}
"""Key -> the sources that it says something about."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network that teaches: exactly one of `card`, `stage`, `run`, `onnx`, `program`, or `weights` of `arch` or
    `code`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    card: str | None = None  # a card of teachers/
    arch: str | None = None  # the architecture, of the zoo, that `stage` trains or that `weights` belong to
    stage: str | None = None  # the stage of this recipe that trains it
    norm: Literal["batch", "running"] = "batch"  # published: batch statistics, 76.00 against 75.84
    # what computes its logits: eager, an inference engine (norm: running), auto
    engine: str = key("eager", later=True, trains=False)
    # labelled validation images that check a teacher before the first step, if no stage trains it; 0 is off
    gate: int = key(2000, trains=False)
    gate_points: float = key(
        1.0, trains=False
    )  # largest shortfall from the card's top-1 on them, in points plus sampling error
    bn_momentum: float | None = None
    weights: str | None = None  # a weights file: instead of the card's, or of `arch` or `code`
    code: str | None = key(None, later=True)  # a network of one's own instead of `arch`, such as nets.py:Large
    options: dict[str, Any] = key(factory=dict, later=True)  # keyword arguments of the class of `code`
    run: str | None = key(None, later=True)  # the folder of a finished run, whose student teaches
    onnx: str | None = key(None, later=True)  # an ONNX file of any framework
    program: str | None = key(None, later=True)  # an inference program of Paddle: a folder, or the path of one
    input: InputSpec | None = key(None, later=True)  # the images that `onnx`, `program` or `weights` were trained with
    gives: Literal["logits", "probabilities"] | None = key(None, later=True)  # what the output holds
    output: str | None = key(None, later=True)  # the tensor with the scores of the classes; null: the only output
    classes_file: str | None = key(None, later=True)  # index of each class of the recipe in that output
    taps: dict[str, str] = key(factory=dict, later=True)  # name of a tap -> name of a tensor, or of a layer of `code`
    least_top1: float = key(0.0, later=True, trains=False)  # percent on the `gate` images, below which it is refused

    @property
    def source(self) -> Source:
        """Where it comes from."""
        return next((name for name in SOURCES if getattr(self, name) is not None), "weights")

    @property
    def is_foreign(self) -> bool:
        """Whether it is no network of Paddle's layers: it has its statistics built in, and gives no weights."""
        return self.source in FOREIGN

    @property
    def statistics(self) -> Literal["batch", "running"]:
        """The statistics that its batch norms use; a foreign network has the running ones built in."""
        return "running" if self.is_foreign else self.norm

    @property
    def title(self) -> str:
        """Its name where only one teacher can be meant: of its card, its architecture, its class, file or folder."""
        if self.source in ("stage", "weights"):
            return self.arch or self.code or f"stage {self.stage}"  # the last one where that stage trains the student
        return str(getattr(self, self.source))

    @property
    def spec(self) -> NetworkSpec:
        """What is said of a foreign network."""
        assert self.input is not None
        assert self.gives is not None
        return NetworkSpec(
            input=self.input, gives=self.gives, output=self.output, classes_file=self.classes_file, taps=self.taps
        )

    @property
    def check(self) -> AccuracyCheck:
        """How it proves itself where no card says what it should reach."""
        return AccuracyCheck(images=self.gate, least_top1=self.least_top1)


@dataclass(frozen=True, kw_only=True)
class Combine:
    """How several teachers speak as one: a mean over them, with weights that need not sum to 1.

    mean: of `probabilities`, softmax values at temperature 1, whose logarithms are the logits that the losses see (so a
    loss with another temperature softens the mean); or of `logits`. weights: name of a teacher -> its weight; equal
    ones without. A loss that reads every teacher apart is not concerned.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    mean: Literal["probabilities", "logits"] = "probabilities"
    weights: dict[str, float] = field(default_factory=dict)


def check_teacher(teacher: Teacher, where: str) -> None:
    """RecipeError for a teacher of no source or of two, and for keys that say nothing of its source.

    `where` is the key path with the recipe before it, such as `mine.yaml: teachers.vit`.
    """
    sources = [name for name in SOURCES if getattr(teacher, name) is not None]
    if len(sources) > 1 or not (sources or teacher.weights):
        what = f"has {' and '.join(sources)}" if sources else "has no source"
        known = ", ".join(SOURCES[:-1])
        raise RecipeError(f"{where}: {what}; give exactly one of {known}, {SOURCES[-1]}, or weights with arch or code")
    for name, belongs in BELONGS.items():
        if teacher.source not in belongs and plain(getattr(teacher, name)) != plain(_default(name)):
            what = f"says nothing of a teacher that comes from {teacher.source}"
            raise RecipeError(f"{where}.{name}: {what}; leave it out (it belongs to {', '.join(belongs)})")
    _check_network(teacher, where)
    if teacher.gate < 0:
        raise RecipeError(f"{where}.gate: {teacher.gate}; give a number of images, or 0 for no check")
    check_accuracy_check(teacher.check, f"{where}.")


def _check_network(teacher: Teacher, where: str) -> None:
    if teacher.arch and teacher.code:
        raise RecipeError(f"{where}.code: arch names a network too; leave one of them out")
    if teacher.options and not teacher.code:
        raise RecipeError(f"{where}.options: they are arguments of the class that code names; give code, or leave them")
    if teacher.taps and not (teacher.code or teacher.is_foreign):
        raise RecipeError(f"{where}.taps: a network of the zoo names its taps itself; leave them out")
    if teacher.source == "weights" and not (teacher.arch or teacher.code):
        raise RecipeError(f"{where}.weights: of which network? give arch or code, or the card that they belong to")
    if teacher.source not in (*FOREIGN, "weights"):
        return
    if teacher.input is None:
        raise RecipeError(
            f"{where}.input: this key is required; give size, mean and std of the images it was trained on"
        )
    if teacher.is_foreign and teacher.gives is None:
        raise RecipeError(f"{where}.gives: this key is required; give logits or probabilities, as its output holds")
    plain_input = InputSpec(size=teacher.input.size, mean=teacher.input.mean, std=teacher.input.std)
    if teacher.source == "weights" and teacher.input != plain_input:
        raise RecipeError(
            f"{where}.input: layout and channels are of onnx or program; a network of Paddle takes nchw, rgb"
        )
    check_network(NetworkSpec(input=teacher.input, gives=teacher.gives or "logits", taps=teacher.taps), f"{where}.")


def check_combine(combine: Combine, names: tuple[str, ...], where: str) -> None:
    """RecipeError unless the weights are of the teachers `names` of the stage, all of them, 0 or more, not all 0."""
    weights: Mapping[str, float] = combine.weights
    if not weights:
        return
    if weights.keys() != set(names):
        what = f"of {', '.join(weights)}; the teachers are {', '.join(names)}"
        raise RecipeError(f"{where}.weights: {what}; give each of them its weight")
    if any(not 0 <= weight < float("inf") for weight in weights.values()) or not any(weights.values()):
        raise RecipeError(f"{where}.weights: {dict(weights)}; give numbers from 0 up, at least one of them above 0")


def _default(name: str) -> Any:
    own = next(f for f in fields(Teacher) if f.name == name)
    return own.default_factory() if own.default_factory is not MISSING else own.default
