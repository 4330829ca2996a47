"""Say which methods there are to distil with: the facts of each, from the classes of the losses, without Paddle."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import textwrap
from dataclasses import dataclass
from itertools import groupby

from ssld.losses.base import Loss, Paper, Reads, Without, unlabelled_options
from ssld.losses.registry import built_in, options, summary
from ssld.losses.terms import build_terms
from ssld.spec.ranges import Decay, told

GROUPS = {
    "label": "Labels",
    "logit": "Logits of a teacher",
    "multi": "Several teachers",
    "self_": "The student's own past, or a virtual teacher",
    "feature": "Feature maps and vectors, image by image",
    "relation": "How images, or channels, relate to each other",
    "contrast": "Images told from other images",
    "optimiser": "How two gradients become one step",
}
"""Folder of the losses -> what a method of it compares; and the methods that are no losses."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Hold the facts of one method. formula: lines of text. text: what the head of its file says below the summary,
    with the formula as an indented block; empty where it says no more. needs: what it reads beside the images, of
    NEEDS. helpers: whether it trains layers beside the student. options: name -> type and default. unlabelled: value of
    its option of that name -> what becomes of an image without a label; empty where it reads no label. The rest stands
    in `Loss`.
    """

    name: str
    group: str
    summary: str
    formula: str
    text: str
    needs: tuple[str, ...]
    helpers: bool
    options: dict[str, str]
    unlabelled: dict[str, str]
    every_class: bool
    coupled: bool
    paper: Paper | Without | None
    golden: str | Without | None
    ledger: tuple[str, ...]
    use: str
    traps: tuple[str, ...]
    cost: str


FACTS = ("every_class", "coupled", "paper", "golden", "ledger", "use", "traps", "cost")
"""What a class of a loss says of itself, beside its options and what it reads."""

UNLABELLED = {
    "error": "an image without a label stops the run before its first step",
    "ignore": "an image without a label counts 0",
    "teacher_argmax": "the label of such an image is the class of the teacher's largest logit",
}

NEEDS = {
    "logits": "of the student, or of both networks",
    "features": "maps or vectors inside the networks, which are taps",
    "labels": "of the images",
    "index": "which training image it is, for a memory with a row for each",
    "views": "several rows of outputs for each image, or outputs for a second view of it",
    "teacher": "outputs of a teacher",
    "teachers": "those of each of several teachers apart",
    "peers": "outputs of other networks, which train beside the student",
    "weights": "of the classifier of a network, or of its batch norms",
    "two gradients": "terms that learn from labels and terms that learn from a teacher",
}

DOT = Method(
    name="dot",
    group="optimiser",
    summary="Two momenta, of the task and of the distillation; it is no loss: optim: {algorithm: dot}.",
    text=textwrap.dedent(
        """\
        u_task is the momentum of the gradient of the terms that learn from labels, u_distil that of the terms that
        learn from a teacher:

            w <- w - rate (u_task + u_distil), momentum - delta and momentum + delta

        Formula and numbers are those of the official code (github.com/megvii-research/mdistiller). The weight decay of
        a parameter that only one of the two reaches is a choice of this implementation (`ssld/distill/dot.py`)."""
    ),
    formula="w <- w - rate (u_task + u_distil), momentum - delta and momentum + delta",
    needs=("two gradients",),
    helpers=False,
    every_class=False,
    coupled=False,
    unlabelled={},
    options={"delta": f"{told(Decay)} = 0.075"},
    paper=Paper("DOT: A Distillation-Oriented Trainer", 2023),
    golden="dot",
    ledger=("KD+DOT",),
    use="With any losses that learn from labels and from a teacher at once, and pull in different directions.",
    traps=(
        "`delta` 0.075 is of CIFAR-100; the authors take 0.09 on ImageNet.",
        "Weight decay belongs to the task alone.",
    ),
    cost="The gradients of the task and of the distillation are kept apart, so a step has two backward passes.",
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """Describe a method that is no loss of its own but a way to use losses.

    losses: their names. written: what of it a recipe writes. text: what it is, and where it differs from its paper.
    recipes: those that use it, below recipes/. ledger: as of a `Loss`.
    """

    name: str
    losses: tuple[str, ...]
    written: str
    text: str
    recipes: tuple[str, ...]
    paper: Paper | Without
    ledger: tuple[str, ...] = ()


WAYS = (
    Way(
        name="funmatch",
        losses=("kl",),
        written="loss: {kl: {}}, data: {augment: {mixup: 1.0}}",
        text="The student matches the function of the teacher: both see the same crop and the same mixture of images, "
        "no label is read, and the training is very long. A short one does not show it.",
        recipes=("methods/funmatch", "methods/imagenet/funmatch_resnet50"),
        paper=Paper("Knowledge distillation: A good teacher is patient and consistent", 2021, "2106.05237"),
    ),
    Way(
        name="vanillakd",
        losses=("kl", "bce"),
        written="loss: {bce: {}, kl: {}}, optim: {algorithm: lamb}",
        text="Plain distillation in a strong recipe of training: it asks how much of what other losses gain is left "
        "there. Its published teacher, BEiTv2-B, comes in as an ONNX file.",
        recipes=("methods/vanillakd", "methods/imagenet/vanillakd_resnet50"),
        paper=Paper(
            "VanillaKD: Revisit the Power of Vanilla Knowledge Distillation from Small Scale to Large Scale",
            2023,
            "2305.15781",
        ),
        ledger=("VanillaKD",),
    ),
    Way(
        name="hard_label",
        losses=("ce", "soft_ce"),
        written="loss: {ce: {weight: 0.5}, soft_ce: {hard: true, weight: 0.5}}",
        text="The class that the teacher holds for the most probable one is a second label. With a head of its own for "
        "it, `student: {head: {kind: distillation}}`, it is the hard form of `deit`; images without a label count too.",
        recipes=("methods/deit_head",),
        paper=Paper("Training data-efficient image transformers & distillation through attention", 2020, "2012.12877"),
    ),
    Way(
        name="mean_of_probabilities",
        losses=("kl",),
        written="teachers: [big, other], combine: {mean: probabilities}, loss: {kl: {}}",
        text="Several teachers speak as one, whose probabilities are the mean of theirs, for any loss that reads "
        "logits. At temperature 1 that is exact; at another one `aver` with `mean: probabilities` is.",
        recipes=("methods/mean_of_probabilities",),
        paper=Without("Averaging teachers is a baseline of many papers and the invention of none."),
    ),
    Way(
        name="fixmatch",
        losses=("ce", "soft_ce"),
        written="pseudo: {kind: soft_ce, hard: true, student_view: strong, min_teacher: 0.95}",
        text="The teacher labels a weak view of an image, the student learns that class in a strong view, where the "
        "teacher is sure. In the paper the network labels for itself; here a teacher does.",
        recipes=("methods/fixmatch", "methods/imagenet/fixmatch_resnet50"),
        paper=Paper(
            "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", 2020, "2001.07685"
        ),
    ),
    Way(
        name="noisy_student",
        losses=("ce", "soft_ce"),
        written="pseudo: {kind: soft_ce, student_view: noisy, min_teacher: 0.3}",
        text="A network that labels taught labels images as they are; a larger one learns from changed images, and "
        "teaches in its turn. It needs long stages: the recipe on the digits says what happens in short ones.",
        recipes=("methods/noisy_student", "methods/imagenet/noisy_student_efficientnetb2"),
        paper=Paper("Self-training with Noisy Student improves ImageNet classification", 2019, "1911.04252"),
    ),
)
"""Methods of the literature that are recipes."""


def row_of_way(way: Way) -> dict[str, object]:
    """Return the line of `ssld list methods` of a way to use losses."""
    needed = {need for name in way.losses for need in method(name).needs}
    paper = way.paper if isinstance(way.paper, Paper) else None
    return {
        "name": way.name,
        "kind": "recipe",
        "needs": ", ".join(need for need in NEEDS if need in needed),
        "helpers": "no",
        "paper": paper and f"arXiv:{paper.arxiv}",
        "golden": None,
        "year": paper and str(paper.year),
    }


def facts_of_way(way: Way) -> dict[str, object]:
    """Return all that is known of a way to use losses, as a tree of plain values."""
    paper = {"none": way.paper.reason} if isinstance(way.paper, Without) else dataclasses.asdict(way.paper)
    return {
        "method": way.name,
        "kind": "recipe",
        "summary": way.text,
        "written": way.written,
        "losses": list(way.losses),
        "recipes": [f"recipes/{name}.yaml" for name in way.recipes],
        "paper": paper,
        "published_as": list(way.ledger),
    }


def names() -> list[str]:
    """Return the names of all methods, in the order of the groups."""
    return [*built_in(), DOT.name]


def methods() -> list[Method]:
    """Return every method, in the order of the groups."""
    return [method(name) for name in names()]


def method(name: str) -> Method:
    """Return what is known of one of the `names`."""
    if name == DOT.name:
        return DOT
    cls = built_in()[name]
    loss = build_terms({name: {}})[name].loss
    text = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "").partition("\n\n")[2]
    return Method(
        name=name,
        group=cls.__module__.split(".")[-2],
        summary=summary(cls),
        formula=_block(text) or (inspect.getdoc(cls) or "").partition("\n")[0],
        text=text,
        needs=needs(loss),
        helpers=cls.helpers is not Loss.helpers,
        options=options(cls),
        unlabelled={option: UNLABELLED[option] for option in unlabelled_options(loss)},
        **{field: getattr(cls, field) for field in FACTS},
    )


def _block(text: str) -> str:
    """Return the first indented lines of a text, without their common indent."""
    lines = (line if line.strip() else "" for line in text.splitlines())
    blocks = (list(some) for indented, some in groupby(lines, key=lambda line: line.startswith("  ")) if indented)
    return textwrap.dedent("\n".join(next(blocks, [])))


def needs(loss: Loss) -> tuple[str, ...]:
    """Return what a loss reads, in the words of NEEDS."""
    reads: Reads = loss.reads
    outputs = reads.student | reads.teacher
    reads_of = {
        "logits": "logits" in outputs,
        "features": any(name.rpartition(".")[2] != "logits" for name in outputs),
        "labels": "label" in reads.batch,
        "index": "index" in reads.batch,
        "views": loss.views > 1 or any(name.endswith(".logits") for name in outputs),
        "teacher": bool(reads.teacher),
        "teachers": reads.each,
        "peers": "peers" in reads.batch,
        "weights": any(reads.weights.values()),
    }
    return tuple(name for name in NEEDS if reads_of.get(name))


def row(method: Method) -> dict[str, object]:
    """Return the line of `ssld list methods`; a fact that does not exist is None."""
    paper = method.paper if isinstance(method.paper, Paper) else None
    return {
        "name": method.name,
        "kind": method.group.strip("_"),
        "needs": ", ".join(method.needs),
        "helpers": "yes" if method.helpers else "no",
        "paper": paper and (f"arXiv:{paper.arxiv}" if paper.arxiv else paper.title),
        "golden": method.golden if isinstance(method.golden, str) else None,
        "year": paper and str(paper.year),
    }


def facts(method: Method) -> dict[str, object]:
    """Return all that is known of a method, as a tree of plain values."""
    paper, golden = method.paper, method.golden
    cited = {key: value for key, value in dataclasses.asdict(paper).items() if value} if paper else None
    return {
        "method": method.name,
        "kind": method.group.strip("_"),
        "summary": method.summary,
        "formula": method.formula,
        "needs": {name: NEEDS[name] for name in method.needs},
        "helpers": method.helpers,
        "every_class": method.every_class,
        "coupled": method.coupled,
        "unlabelled": method.unlabelled or "an image without a label counts as every other one",
        "options": method.options,
        "paper": {"none": cited["reason"]} if cited and isinstance(paper, Without) else cited,
        "golden": {"none": golden.reason} if isinstance(golden, Without) else golden,
        "published_as": list(method.ledger),
        "use": method.use,
        "traps": list(method.traps),
        "cost": method.cost or "a few softmaxes, which hardly show beside the networks",
    }
