"""Define what a recipe says of its teachers: where each comes from, what it is fed, and how several are combined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import ClassVar, Literal

from ssld.config.foreign import AccuracyCheck, InputSpec, NetworkSpec, check_network
from ssld.config.keys import key, plain
from ssld.errors import RecipeError
from ssld.spec.ranges import CountOrNone, Decay, Factor, Percent, Text

Source = Literal["card", "stage", "run", "onnx", "program", "weights"]
SOURCES: tuple[Source, ...] = ("card", "stage", "run", "onnx", "program")
"""A teacher has exactly one of these keys, or none where it is a network with the file of `weights`."""
FOREIGN: tuple[Source, ...] = ("onnx", "program")
"""Another framework made the networks of these sources, or Paddle exported them as programs without layers."""

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
"""Each key belongs to the teachers of these sources."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Describe a network that teaches.

    It has exactly one of `card`, `stage`, `run`, `onnx`, `program`, or `weights` of `arch` or `code`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    card: Text | None = None  # a card of teachers/
    arch: Text | None = None  # the architecture, of the zoo, that `stage` trains or that `weights` belong to
    stage: Text | None = None  # the stage of this recipe that trains it
    norm: Literal["batch", "running"] = "batch"  # published with batch statistics: 76.00 against 75.84
    # Its logits are computed by Paddle (eager), an inference engine (norm: running), or the fastest of these (auto).
    engine: Text = key("eager", later=True, trains=False)
    # So many labelled validation images check a teacher that no stage trains before the first step; 0 is off.
    gate: CountOrNone = key(2000, trains=False)
    # Its top-1 on them may fall below the card's by so many points, besides the sampling error.
    gate_points: Percent = key(1.0, trains=False)
    bn_momentum: Decay | None = None
    weights: Text | None = None  # a weights file that replaces the card's, or that of `arch` or `code`
    code: Text | None = key(None, later=True)  # a network of one's own instead of `arch`, such as nets.py:Large
    options: dict[str, object] = key(factory=dict, later=True)  # keyword arguments of the class of `code`
    run: Text | None = key(None, later=True)  # the folder of a finished run, whose student teaches
    onnx: Text | None = key(None, later=True)  # an ONNX file of any framework
    program: Text | None = key(None, later=True)  # an inference program of Paddle: a folder, or the path of one
    input: InputSpec | None = key(None, later=True)  # the images that `onnx`, `program` or `weights` were trained with
    gives: Literal["logits", "probabilities"] | None = key(None, later=True)  # content of the output
    output: Text | None = key(None, later=True)  # name of the tensor with the scores; null is the only output
    classes_file: Text | None = key(None, later=True)  # index of each class of the recipe in that output
    taps: dict[str, Text] = key(factory=dict, later=True)  # maps a tap to a tensor, or to a layer of `code`
    least_top1: Percent = key(0.0, later=True, trains=False)  # least top-1 in percent on the `gate` images

    @property
    def source(self) -> Source:
        """Return the key that says where it comes from."""
        return next((name for name in SOURCES if getattr(self, name) is not None), "weights")

    @property
    def is_foreign(self) -> bool:
        """Return whether it does not consist of layers of Paddle.

        It then has its statistics built in, and gives no weights.
        """
        return self.source in FOREIGN

    @property
    def statistics(self) -> Literal["batch", "running"]:
        """Return the statistics that its batch norms use. A foreign network has the running ones built in."""
        return "running" if self.is_foreign else self.norm

    @property
    def title(self) -> str:
        """Return its name where only one teacher can be meant.

        It is that of its card, its architecture, its class, its file or its folder.
        """
        if self.source in ("stage", "weights"):
            return self.arch or self.code or f"stage {self.stage}"  # a stage without arch or code trains the student
        return str(getattr(self, self.source))

    @property
    def spec(self) -> NetworkSpec:
        """Return what the recipe says of a foreign network."""
        assert self.input is not None
        assert self.gives is not None
        return NetworkSpec(
            input=self.input, gives=self.gives, output=self.output, classes_file=self.classes_file, taps=self.taps
        )

    @property
    def check(self) -> AccuracyCheck:
        """Return how it proves itself where no card says what it should reach."""
        return AccuracyCheck(images=self.gate, least_top1=self.least_top1)


@dataclass(frozen=True, kw_only=True)
class Combine:
    """Say how several teachers are combined into one: by a mean over them, with weights that need not sum to 1.

    `mean` is that of `probabilities`, which are softmax values at temperature 1, or that of `logits`. The losses see
    the logarithms of mean probabilities as logits, so that a loss with another temperature softens the mean. `weights`
    maps the name of a teacher to its weight; without them all are equal. A loss that reads every teacher on its own is
    not concerned.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    mean: Literal["probabilities", "logits"] = "probabilities"
    weights: dict[str, Factor] = field(default_factory=dict)


def check_teacher(teacher: Teacher, where: str) -> None:
    """Check that a teacher has one source, and that all its keys belong to that source. Raises RecipeError otherwise.

    `where` is the key path with the recipe before it, such as `mine.yaml: teachers.vit`.
    """
    sources = [name for name in SOURCES if getattr(teacher, name) is not None]
    if len(sources) > 1 or not (sources or teacher.weights):
        what = f"has {' and '.join(sources)}" if sources else "has no source"
        source_names = ", ".join(SOURCES[:-1])
        raise RecipeError(
            f"{where}: {what}; give exactly one of {source_names}, {SOURCES[-1]}, or weights with arch or code"
        )
    for name, belongs in BELONGS.items():
        if teacher.source not in belongs and plain(getattr(teacher, name)) != plain(_default(name)):
            what = f"says nothing of a teacher that comes from {teacher.source}"
            raise RecipeError(f"{where}.{name}: {what}; leave it out (it belongs to {', '.join(belongs)})")
    _check_network(teacher, where)


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
    """Check that the weights are those of all the teachers `names` of the stage, and not all 0.

    Raises RecipeError otherwise.
    """
    weights: Mapping[str, float] = combine.weights
    if not weights:
        return
    if weights.keys() != set(names):
        what = f"of {', '.join(weights)}; the teachers are {', '.join(names)}"
        raise RecipeError(f"{where}.weights: {what}; give each of them its weight")
    if not any(weights.values()):
        raise RecipeError(f"{where}.weights: every weight is 0; give at least one teacher a positive weight")


def _default(name: str) -> object:
    own_field = next(f for f in fields(Teacher) if f.name == name)
    return own_field.default_factory() if own_field.default_factory is not MISSING else own_field.default
