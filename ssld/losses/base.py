"""Define what a loss is: options with types, what it reads, the layers that it owns, and a value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal, get_args, get_type_hints

from ssld.interfaces import Batch, Outputs
from ssld.spec.ranges import check_fields

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from paddle import Tensor, nn

Shape = tuple[int, ...]
OnUnlabelled = Literal["refuse", "ignore", "teacher_argmax"]
LOGITS = frozenset({"logits"})
OF_BATCH = frozenset(Batch.__annotations__) - {"teacher"}
"""The keys of a batch that a loss may read; the outputs of the teacher come as an argument of their own."""


@dataclass(frozen=True)
class Reads:
    """Say what a loss reads.

    student, teacher: names of outputs, `logits` or taps such as `stage3` or `embedding`, after the name of a view where
    a loss compares views (`strong.logits`); `stages` and `stages.pre` stand for stages of which `Loss.fitted` chooses.
    An empty teacher means that the loss needs none. batch: keys of `Batch`,
    such as `label` or `index`. weights: of `student` or `teacher` the layers whose weights it reads: `classifier` makes
    the logits, `stage3.norm` is the batch norm that makes `stage3.pre`. each: it reads every teacher apart.
    """

    student: frozenset[str] = LOGITS
    teacher: frozenset[str] = frozenset()
    batch: frozenset[str] = frozenset()
    weights: Mapping[str, frozenset[str]] = field(default_factory=dict)
    each: bool = False

    def __init__(
        self,
        student: Collection[str] = LOGITS,
        teacher: Collection[str] = (),
        batch: Collection[str] = (),
        weights: Mapping[str, Collection[str]] | None = None,
        each: bool = False,
    ):
        for name, value in (("student", student), ("teacher", teacher), ("batch", batch)):
            if isinstance(value, str):
                raise TypeError(f"Reads({name}={value!r}) is text; write {name}={{{value!r}}}")
            object.__setattr__(self, name, frozenset(value))
        if unknown := set(batch) - OF_BATCH:
            raise ValueError(f"Reads(batch=...) has {min(unknown)!r}; its keys are {', '.join(sorted(OF_BATCH))}")
        if wrong := {*(weights or {})} - {"student", "teacher"}:
            raise ValueError(f"Reads(weights=...) has {min(wrong)!r}; its keys are student and teacher")
        object.__setattr__(self, "weights", {of: frozenset(names) for of, names in (weights or {}).items()})
        object.__setattr__(self, "each", each)


@dataclass(frozen=True, kw_only=True)
class About:
    """Hold what the layers of a loss may depend on.

    student, teacher: the shape of each output that the loss reads, without the batch: `logits` (classes,), a map (C, H,
    W), a vector (d,). each: where the loss reads every teacher apart, the same of each of them. classes: of the recipe.
    images: training images of the stage. labels: int64 [images], the label of each of them, -1 where it has none.
    steps, steps_per_epoch: of the stage. micro: images of one micro-batch of one rank. world: the number of ranks.
    seed: of this term of this stage; a loss that draws numbers while it trains draws them from this and from the step.
    """

    student: Mapping[str, Shape]
    teacher: Mapping[str, Shape]
    classes: int
    images: int
    labels: NDArray[np.int64]
    steps: int
    steps_per_epoch: int
    micro: int
    world: int
    seed: int
    each: Mapping[str, Mapping[str, Shape]] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """Say where a method comes from. arxiv: its number there, empty where it has none or none is known."""

    title: str
    year: int
    arxiv: str = ""


@dataclass(frozen=True)
class Without:
    """Say why something does not exist, in a sentence."""

    reason: str


@dataclass(frozen=True)
class Loss:
    """Define a loss as a frozen dataclass: its fields are its options, with types and defaults.

        @dataclass(frozen=True)
        class Hinge(Loss):
            margin: float = 1.0
            reads: ClassVar = Reads(teacher={"logits"})

            def __call__(self, student, teacher, batch, helpers):
                gap = student["logits"] - teacher["logits"]
                return paddle.nn.functional.relu(gap.abs() - self.margin).sum(axis=-1)

    It sees tensors, never a network. `reads` may be a property where it depends on the options.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    reads: ClassVar[Reads]
    version: ClassVar[int] = 1
    """A built-in loss raises it when its value changes for the same options; it then enters the digest."""
    mixed: ClassVar[Literal["refuse", "both"]] = "refuse"
    """What happens to images that were mixed, where the loss reads labels: it is refused, or it is computed with both
    labels and weighed by their shares."""

    every_class: ClassVar[bool] = False
    """Whether the value needs the teacher's logit of every class. A label cache that keeps the k largest spreads the
    remaining probability evenly over the others: that is close enough for a loss in which a class counts as much as its
    probability, and wrong for one that compares logits themselves, their deviation or order, that raises small
    probabilities, or that looks at the other classes without the true one."""
    coupled: ClassVar[bool] = False
    """Whether the value is one number for the micro-batch of a rank, because the loss compares its images. Such a value
    cannot be weighed image by image."""
    # No code can tell these facts of a method: `ssld list methods`, `ssld show METHOD` and docs/methods.md show them.
    paper: ClassVar[Paper | Without | None] = None
    golden: ClassVar[str | Without | None] = None
    """The golden file that holds what the official code computes: tests/parity/data/golden/<golden>.npz."""
    ledger: ClassVar[tuple[str, ...]] = ()
    """The names under which its published and re-run numbers stand in docs/data/published.csv."""
    views: ClassVar[int] = 1
    """Rows of outputs that it reads of each image; 4 are those of a view of rotations, the image itself first."""
    use: ClassVar[str] = ""
    """When to use it, in a sentence or two."""
    traps: ClassVar[tuple[str, ...]] = ()
    """What goes wrong with it, a sentence or two each."""
    cost: ClassVar[str] = ""
    """What is computed beside the passes of the networks of plain distillation, in a sentence; nothing where it is that
    of a few softmaxes."""

    def __post_init__(self) -> None:
        """Check each option against the range in its type. Raises RecipeError for one outside."""
        check_fields(self)

    def on_unlabelled(self) -> OnUnlabelled:
        """Say what happens to images without a label, where the loss reads labels.

        They stop the run ("refuse"), they count 0 ("ignore"), or their label is the class of the teacher's largest
        logit ("teacher_argmax"). An option `unlabelled` says it, as `Labelled` has one; without it they stop the run.
        """
        said: Literal["error", "ignore", "teacher_argmax"] = getattr(self, "unlabelled", "error")
        return "refuse" if said == "error" else said

    def fitted(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> Loss:
        """Return this loss with taps that the two networks have, where its options leave open which (`losses/stages`).

        student, teacher: the shape of each tap of a stage, without the batch. It is called for such a loss alone.
        """
        return self

    def check(self, about: About) -> None:
        """Raise RecipeError where the loss cannot be computed of these outputs; it is called before `helpers`."""

    def helpers(self, about: About) -> nn.Layer | None:
        """Return the layers that this loss trains or keeps beside the student, with fresh weights; None without any.

        They are trained, checkpointed and resumed with the student, and never exported. Paddle's generator is seeded
        for this term before the call. Where the returned layer has a method `after_step(runtime)`, it is called when
        the optimiser has made its step; a store of past batches changes there and nowhere else. Where it has a method
        `logged()`, the scalars that this returns are logged with the losses: it maps a name to a tensor.
        """
        return None

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        """Return the loss of each image, [N], or one number, which then is of the micro-batch of a rank as a whole.

        student, teacher: the outputs that `reads` names, in float32 or wider; those of the teacher carry no gradient.
        batch: has the keys that `reads` names, and `step` (from 0) and `epoch` (from 1). helpers: the layers that
        `helpers` made.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Labelled(Loss):
    """Define a loss that reads the label of every image.

    `unlabelled`: images without a label stop the run ("error"), count 0 ("ignore"), or have the class of the teacher's
    largest logit for a label ("teacher_argmax").
    """

    unlabelled: Literal["error", "ignore", "teacher_argmax"] = field(default="error", kw_only=True)


def unlabelled_options(loss: Loss) -> tuple[str, ...]:
    """Return what the option `unlabelled` of a loss may be, its default first; () where the loss has no such option."""
    names = {option.name for option in fields(loss)}
    return get_args(get_type_hints(type(loss))["unlabelled"]) if "unlabelled" in names else ()
