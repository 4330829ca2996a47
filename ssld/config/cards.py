"""Read cards: fact sheets of architectures (students/) and of trainings used as teachers (teachers/).

Nothing here imports PaddlePaddle. A model name means three things: an architecture (code, `ssld/models`), a training of
it (weights), and a claim about it (a number and where it was published). A student card holds the facts of an
architecture and its published claims; a teacher card holds one training.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from ssld.config.typed import read
from ssld.errors import RecipeError, did_you_mean
from ssld.paths import shelf
from ssld.spec.choices import Interpolation
from ssld.spec.colours import WHITE, Colour
from ssld.spec.ranges import Classes, Deviations, Means, Percent, Pixels, Positive, Prose, Size, Text
from ssld.spec.revisions import FLAVOURS, Flavour, Revision

Batches = tuple[Positive, Positive | None, Positive | None]  # numbers for batches of 1, 4 and 8 images
Kind = Literal["plain", "v2", "ssld", "ssld_v2", "fix", "int8"]
Card = TypeVar("Card", "StudentCard", "TeacherCard")

# Families of series are in the order of the published overview, which every list has; figures give each a colour.
FAMILIES = {
    "ResNet": ("resnet", "resnet_vc", "resnet_vd"),
    "Mobile": ("mobilenet_v3", "mobilenet_v2", "mobilenet_v1", "shufflenet_v2", "ghostnet"),
    "ResNeXt, SE, Res2Net": ("resnext", "resnext_vd", "se_resnet_vd", "se_resnext", "se_resnext_vd", "res2net"),
    "Inception, Xception": ("googlenet", "inception_v3", "inception_v4", "xception", "xception_deeplab"),
    "HRNet": ("hrnet",),
    "DPN, DenseNet": ("dpn", "densenet"),
    "EfficientNet": ("efficientnet",),
    "ResNeXt-WSL": ("resnext101_wsl",),
    "Others": ("resnest", "regnet", "alexnet", "squeezenet", "vgg", "darknet", "acnet"),
}


@dataclass(frozen=True, kw_only=True)
class Input:
    """Describe a crop of `size` pixels after the shorter side became `resize`.

    Pixels are divided by 255 and normalised with `mean` and `std`. `interpolation` is that of the resize; at its
    default it enters no digest. `background` is the colour behind transparent pixels, RGB from 0 to 255.
    """

    size: Pixels
    resize: Pixels
    mean: Means
    std: Deviations
    interpolation: Interpolation = field(default="linear", metadata={"later": True})
    background: Colour = WHITE


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Name a weights file, which is looked for in the weights folder (`paths.weights_root`).

    `sha256` is null until it is pinned.
    """

    url: Text
    path: Text
    sha256: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Hold published milliseconds for a batch at the crop of `input`. A value is null where the tables have no row.

    Nothing is measured here. `v100_fp32` is for batch 1. `t4_fp16` and `t4_fp32` are for batches of 1, 4 and 8 with
    TensorRT. `sd855` is for batch 1 with Paddle-Lite on the CPU of a phone with one thread. Numbers of GPUs are the
    mean of 500 runs after 10 that do not count, and include the copies to and from the device.
    """

    v100_fp32: Positive | None = None
    t4_fp16: Batches | None = None
    t4_fp32: Batches | None = None
    sd855: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class Printed:
    """Hold costs as the published tables print them, with their errors.

    The notes of a card say what is wrong with them. `flops_g` is in 1e9 operations, in nearly every row two for a
    multiply-add. `params_m` is in 1e6 parameters. `storage_mb` is the size of the exported file for a phone.
    """

    source: Prose
    flops_g: Positive | None = None
    params_m: Positive | None = None
    storage_mb: Positive | None = None
    latency_ms: Latency = Latency()


@dataclass(frozen=True, kw_only=True)
class AtSize:
    """Describe the same weights on another crop than that of their input.

    `top1` and `source` are null where none is known.
    """

    resize: Pixels
    top1: Percent | None = None
    source: Prose | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Describe one published training of an architecture. `top1` and `top5` are percent on the ImageNet validation set.

    `weights` maps the flavour of the file to its address: develop (keys that `models.keymap` reads), '2.0' (keys of
    PaddleClas 2.0), static (an archive of 1.x). `revision` is that of the network which they fit (`models.create`).
    `teacher` names a teacher card, `recipe` a file of recipes/. `input`, `params`, `macs`, `train_resolution` and
    `printed` are given only where they differ from the card's. `also_at` maps the pixels of other crops on which it is
    evaluated to their facts.
    """

    name: Text
    top1: Percent
    top5: Percent | None = None
    source: Prose
    revision: Revision = "2.x"
    input: Input | None = None
    params: Size | None = None
    macs: Size | None = None
    train_resolution: Pixels | None = None
    printed: Printed | None = None
    teacher: Text | None = None
    recipe: Text | None = None
    weights: dict[Flavour, Text] = field(default_factory=dict)
    also_at: dict[Pixels, AtSize] = field(default_factory=dict)
    notes: Prose | None = None


@dataclass(frozen=True, kw_only=True)
class StudentCard:
    """Hold the facts of an architecture and its published trainings.

    `params` leave out the statistics of batch norms. `macs` are the multiply-adds of convolutions and linear layers at
    `input.size`. Both are those of revision 2.x with so many `classes`. `published` is empty for a network that the
    literature compares on other images than ImageNet's. `train_resolution` has the pixels of the crops of the published
    configuration, null where there is none. `printed` holds for every training of the architecture, because the tables
    repeat it.
    """

    arch: Text
    series: Text
    classes: Classes = 1000
    params: Size
    macs: Size
    input: Input
    train_resolution: Pixels | None = None
    printed: Printed | None = None
    published: dict[Kind, Claim]
    notes: Prose | None = None

    @property
    def revision(self) -> Revision:
        """Return the revision that `params` and `macs` are of."""
        return "2.x"


@dataclass(frozen=True, kw_only=True)
class Model:
    """Hold a published name with all its facts.

    They are those of its claim, and those of the card where the claim leaves them out.
    """

    name: str
    kind: Kind
    arch: str
    series: str
    revision: Revision
    classes: int
    params: int
    macs: int
    input: Input
    train_resolution: int | None
    top1: float
    top5: float | None
    source: str
    printed: Printed | None
    claim: Claim = field(hash=False)  # not hashed, as it holds mappings and a model is a key of tables
    notes: tuple[str, ...]

    @property
    def protocols(self) -> dict[Input, float | None]:
        """Map the inputs on which its weights are evaluated, its own first, to the published top-1 or None."""
        other_inputs = {
            replace(self.input, size=size, resize=facts.resize): facts.top1
            for size, facts in self.claim.also_at.items()
        }
        return {self.input: self.top1, **other_inputs}

    @property
    def latency_ms(self) -> Latency:
        """Return the published latency, whose values are null where the tables have none."""
        return self.printed.latency_ms if self.printed else Latency()

    @property
    def flops(self) -> int:
        """Return two operations for each multiply-add, as most published tables count."""
        return 2 * self.macs


@dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """Hold the facts of one training. `top1` and `top5` are percent on the ImageNet validation set at `input`."""

    arch: Text
    top1: Percent
    top5: Percent | None = None
    trained_on: Prose | None = None
    source: Prose
    params: Size
    macs: Size
    weights: Weights
    input: Input
    notes: Prose | None = None


def find_student(arch: str) -> StudentCard:
    """Return the card of an architecture, or that of a .yaml file.

    Raises RecipeError, with the nearest name, when there is none.
    """
    return _find("students", StudentCard, arch)


def find_teacher(name: str) -> TeacherCard:
    """Return the card of a teacher by its name or by the path of a .yaml file.

    Raises RecipeError when there is none.
    """
    return _find("teachers", TeacherCard, name)


def all_students() -> dict[str, StudentCard]:
    """Map each architecture to its card.

    Series are in the order of `FAMILIES`, others last; within a series smaller networks come first.
    """
    cards = {name: read(file, StudentCard) for name, file in _files("students").items()}
    rank = {series: place for place, series in enumerate(sum(FAMILIES.values(), ()))}
    order = {name: (rank.get(card.series, len(rank)), card.series, card.params) for name, card in cards.items()}
    return dict(sorted(cards.items(), key=lambda item: order[item[0]]))


def all_teachers() -> dict[str, TeacherCard]:
    """Map each teacher to its card. The best one is the last."""
    cards = {name: read(file, TeacherCard) for name, file in _files("teachers").items()}
    return dict(sorted(cards.items(), key=lambda item: item[1].top1))


def named() -> dict[str, Model | StudentCard]:
    """Map each name that a network can be made by to its facts: published names, then architectures without one.

    Both are in the order of `all_students`.
    """
    every = all_students()
    published = [_model(card, kind) for card in every.values() for kind in card.published]
    others = {name: card for name, card in every.items() if not card.published}
    return {**{model.name: model for model in published}, **others}


def unpublished() -> dict[str, StudentCard]:
    """Map each architecture that no published training of ImageNet has to its card."""
    return {name: facts for name, facts in named().items() if isinstance(facts, StudentCard)}


def models() -> dict[str, Model]:
    """Map each published name to its facts."""
    return {name: facts for name, facts in named().items() if isinstance(facts, Model)}


def find_named(name: str) -> Model | StudentCard:
    """Return the facts behind a name of `named`. Raises RecipeError, with the nearest name, when there are none."""
    by_name = named()
    if name not in by_name:
        raise RecipeError(f"no model named {name!r}{did_you_mean(name, by_name)}; see `ssld list models`")
    return by_name[name]


def find_model(name: str) -> Model:
    """Return the facts of a published name.

    Raises RecipeError when there is none, with the nearest name, and for an architecture without a published training.
    """
    facts = find_named(name)
    if isinstance(facts, StudentCard):
        raise RecipeError(f"{name}: no training of it is published; take a name with a top-1 of `ssld list models`")
    return facts


def family(series: str) -> str:
    """Return the name of the family of a series, or "Others" where it belongs to none."""
    return next((family for family, members in FAMILIES.items() if series in members), "Others")


def find_weights(name: str, flavour: Flavour | None = None) -> tuple[str, Weights]:
    """Return (architecture, file) of a published training, from a claim of a student card or from a teacher card.

    The teacher card may be a .yaml file. Of a claim it is the given flavour, or the first of FLAVOURS that was
    published. Raises RecipeError when nothing has that name, or there is no such file.
    """
    claims = {claim.name: (card.arch, claim) for card in all_students().values() for claim in card.published.values()}
    if name in claims and (claims[name][1].weights or name not in _files("teachers")):
        arch, claim = claims[name]
        return arch, _of_claim(claim, flavour)
    if not name.endswith(".yaml") and name not in _files("teachers"):
        hint = did_you_mean(name, [*claims, *_files("teachers")])
        raise RecipeError(
            f"no published training named {name!r}{hint}; see `ssld list models` and `ssld list teachers`"
        )
    if flavour:
        raise RecipeError(f"{name}: this card names one file, of a flavour that it does not state; leave --flavour out")
    card = find_teacher(name)
    return card.arch, card.weights


def _of_claim(claim: Claim, flavour: Flavour | None) -> Weights:
    flavours = [kind for kind in FLAVOURS if kind in claim.weights]
    if not flavours or flavour not in (None, *flavours):
        advice = f"give one of {', '.join(flavours)}" if flavours else "none were published"
        raise RecipeError(
            f"{claim.name}: its card names no weights{f' of flavour {flavour}' if flavour else ''}; {advice}"
        )
    url = claim.weights[flavour or flavours[0]]
    pinned = (card.weights for card in all_teachers().values() if card.weights.url == url)
    return next(pinned, Weights(url=url, path=url.rpartition("/")[2]))


def _model(card: StudentCard, kind: Kind) -> Model:
    claim = card.published[kind]
    notes = (card.notes if kind == "plain" else None, claim.notes)
    return Model(
        kind=kind,
        arch=card.arch,
        series=card.series,
        classes=card.classes,
        params=claim.params or card.params,
        macs=claim.macs or card.macs,
        input=claim.input or card.input,
        train_resolution=claim.train_resolution or card.train_resolution,
        printed=claim.printed or card.printed,
        notes=tuple(note for note in notes if note),
        **{key: getattr(claim, key) for key in ("name", "revision", "top1", "top5", "source")},
        claim=claim,
    )


def _files(kind: str) -> dict[str, Path]:
    return {file.stem: file for file in sorted(shelf(kind).glob("*.yaml"))}


def _find(kind: str, cls: type[Card], name: str) -> Card:
    if name.endswith(".yaml"):
        return read(Path(name), cls)
    files = _files(kind)
    if name not in files:
        raise RecipeError(f"no card named {name!r} in {kind}/{did_you_mean(name, files)}; see `ssld list {kind}`")
    return read(files[name], cls)
