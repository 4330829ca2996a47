"""This module lists the work of a recipe as parts: minings, label caches and stages.

Each part has its number of images and its arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssld.config import code, cost, mine_step
from ssld.config.mine_step import Mine
from ssld.config.recipe import Labels, Plan
from ssld.data import from_samples, sampler
from ssld.data.imagenet import CLASSES, TRAIN_IMAGES, VAL_IMAGES
from ssld.data.lists import count_lines
from ssld.errors import DataError
from ssld.files import read_json
from ssld.labels import Layout
from ssld.paths import data_root_said
from ssld.planning.batch_split import split

# These numbers of images serve where there is no list to count. ImageNet-22k: 21,841 classes, 2011 (image-net.org).
KNOWN = {"imagenet/train_list.txt": TRAIN_IMAGES, "imagenet/val_list.txt": VAL_IMAGES, "imagenet_22k": 14_197_122}
# CIFAR-100: what `ssld data prepare` makes of 500 training and 100 test images of a class, 50 of the first for choices.
KNOWN |= {"cifar100/train_all.txt": 45_000, "cifar100/val.txt": 5_000, "cifar100/test.txt": 10_000}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Describe a piece of the work: a mining, the making of a label cache, or a stage.

    images: an epoch has so many; None where nobody knows. counted: how the number is known. macs: multiply-adds a
    sample. steps, batch, micro, accumulate, lr: of a stage alone; micro: images on a card at a time.
    """

    kind: str
    name: str
    images: int | None
    counted: str
    epochs: float = 1
    macs: float
    record: int = 0  # the bytes of a label
    steps: int | None = None
    batch: int | None = None
    micro: int | None = None
    accumulate: int | None = None
    lr: float | None = None

    @property
    def title(self) -> str:
        """Return the name of the part in tables."""
        return f"labels of {self.name}" if self.kind == "labels" else self.name

    @property
    def samples(self) -> int | None:
        """Return the number of images that are processed in all. A stage drops the rest of an epoch that fills no
        batch.
        """
        if self.steps is not None and self.batch is not None:
            return self.steps * self.batch
        return None if self.images is None else round(self.images * self.epochs)


def parts_of(plan: Plan, root: Path, cards: int = 1, per_card: int | None = None) -> list[Part]:
    """Return the work of a recipe in its order, split among `cards`, each with at most `per_card` images at a time."""
    parts = [mining(plan, name, step, root) for name, step in (plan.prepare or {}).items()]
    cache_keys: list[tuple[object, ...]] = []
    for name, stage in plan.stages.items():
        data = stage.data
        look = (data.size, data.mean, data.std, data.interpolation, data.augment, data.background)
        cache_key = (data.train, look, stage.labels)
        part = training(plan, name, root, cards, per_card)
        if stage.labels and cache_key not in cache_keys:  # stages with the same images, views and k share one cache
            cache_keys.append(cache_key)
            parts.append(labelling(plan, stage.labels, part))
        parts.append(part)
    return parts


def labelling(plan: Plan, labels: Labels, stage: Part) -> Part:
    """Return the making of a stage's label cache: the teacher sees each view of each image once."""
    return Part(
        kind="labels",
        name=stage.name,
        images=stage.images,
        counted=stage.counted,
        epochs=labels.views,
        macs=cost.taught_macs(plan, plan.stages[stage.name], count_made),
        record=Layout(plan.classes, labels.kept(plan.classes)).size,
    )


def mining(plan: Plan, name: str, step: Mine, root: Path) -> Part:
    """Return a mining.

    Its images are those that a finished mining counted, those of its list files, or known by the name of the folder.
    """
    macs, done_file = cost.mine_macs(plan, step, count_made), root / name / mine_step.DONE
    if done_file.is_file():
        counts = read_json(done_file, "remove it, and `ssld run` chooses the images anew")["counts"]
        return Part(kind="mine", name=name, images=counts["images"], counted="already mined", macs=macs)
    images, origins = 0, list[str]()
    for source in step.sources:
        if (root / source).is_file() and not source.endswith(".tar"):
            images, origins = images + count_lines(root / source), [*origins, "list"]
        elif source in KNOWN:
            images, origins = images + KNOWN[source], [*origins, "known size"]
        else:
            return Part(kind="mine", name=name, images=None, counted=f"not known: {source}", macs=macs)
    return Part(kind="mine", name=name, images=images, counted=joined(origins), macs=macs)


def training(plan: Plan, name: str, root: Path, cards: int, per_card: int | None) -> Part:
    """Return a stage.

    Raises DataError for a list that is neither there nor known, and for fewer images than a batch.
    """
    stage = plan.stages[name]
    counts = [images_of(plan, root, list_name, f"stage {name}") for list_name in stage.data.train]
    images, batch = sum(count for count, _ in counts), stage.data.batch
    try:
        steps = sampler.steps(stage.epochs, sampler.steps_per_epoch(images, batch))
    except DataError as error:
        raise DataError(f"stage {name}: {error}") from None
    accumulate = split(f"stages.{name}", stage, cards, per_card)
    return Part(
        kind="stage",
        name=name,
        images=images,
        counted=joined([how for _, how in counts]),
        epochs=stage.epochs,
        macs=cost.student_macs(plan, stage, count_made)
        + (0 if stage.labels else cost.taught_macs(plan, stage, count_made)),
        steps=steps,
        batch=batch,
        micro=sampler.micro_size(batch, accumulate, cards),
        accumulate=accumulate,
        lr=stage.optim.lr,
    )


def count_made(plan: Plan, network: cost.Block, size: int) -> tuple[int, int]:
    """Return (parameters, multiply-adds) of a network that no card has: it is made with fresh weights and counted."""
    from ssld.distill.networks import count

    return count(plan, network, size)


def images_of(plan: Plan, root: Path, list_name: str, where: str) -> tuple[int, str]:
    """Return how many images a list or a data set of one's own holds, and how that is known."""
    if code.is_code(list_name):
        return len(from_samples(code.find(list_name, plan.code), classes=plan.classes, name=list_name)), "data set"
    if (root / list_name).is_file():
        return count_lines(root / list_name), "list"
    for name, step in (plan.prepare or {}).items():
        if list_name == f"{name}/{mine_step.LIST}":
            return step.k * CLASSES, f"at most k x {CLASSES:,}"
    if list_name in KNOWN:
        return KNOWN[list_name], "known size"
    kind = next((kind for kind in plan.datasets if list_name.startswith(f"{kind}/")), None)
    prepare = f"ssld data prepare {kind}" if kind else "ssld data prepare"
    file = root / list_name
    what = f"no such list file, and its size is not known; {data_root_said(file)}run `{prepare}`"
    raise DataError(f"{where}: {file}: {what}")


def joined(words: Sequence[str]) -> str:
    """Join words, each of them once."""
    return " + ".join(dict.fromkeys(words))
