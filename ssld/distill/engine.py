"""A teacher in an inference engine: the same logits, sooner, and on a CPU beside the student on another core."""

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ssld.deploy import BOUND, device_of, export_model, format_of, ready, shaped, usable
from ssld.deploy.gate import difference, eager_logits
from ssld.distill.arrays import Array
from ssld.distill.metrics import softmax
from ssld.distill.teacher import TeacherLogits
from ssld.errors import DeployError, RunError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Shape
from ssld.progress import note
from ssld.runtime import Runtime, cores, sum_over_ranks

LARGEST_DIFFERENCE = 1e-5  # of two softmax values
ROUNDS = 3  # in which the engines take turns before one is chosen
BATCHES = 3  # of a round


class EngineLogits:
    """What `TeacherLogits` says, from an engine of `ssld list engines` that holds the exported network.

    Normalisation and resizing are part of the export. Raises RunError when the engine's logits on drawn images are not
    those of the network up to rounding (of a logit BOUND, of a softmax value LARGEST_DIFFERENCE).
    """

    beside = True
    gives = frozenset({"logits"})

    def __init__(self, teacher: TeacherLogits, engine: str, folder: Path, images: Array, threads: int):
        self.engine, self.beside = engine, device_of(engine) == "cpu"
        size, batch, self.classes = images.shape[-1], len(images), teacher.network.num_classes
        self.run = ready(engine, threads=threads, **shaped(engine, (1, batch, batch), size)).load(folder)
        wanted, found = eager_logits(teacher, images), self.run(images)
        failure = difference(engine, wanted, found, BOUND * float(np.abs(wanted).max()))
        gap = float(np.abs(softmax(found) - softmax(wanted)).max())
        if not failure and gap > LARGEST_DIFFERENCE:
            failure = f"{engine} differs from the model, max |diff| of softmax {gap:.3g} > {LARGEST_DIFFERENCE:.0e}"
        if failure:
            raise RunError(f"teacher {teacher.network.arch}: {failure}; set teacher.engine=eager")

    def __call__(self, images: Any) -> Any:
        return paddle.to_tensor(self.run(images.numpy()))

    def shapes(self, names: Collection[str], size: int) -> dict[str, Shape]:
        """The shape of the logits, without the batch."""
        return {name: (self.classes,) for name in names}

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, Shape]]:
        """No teacher speaks apart here."""
        return {}

    def labelled(
        self, batches: Iterable[Batch], precision: Callable[[], AbstractContextManager[Any]] | None = None
    ) -> Iterator[Batch]:
        """Each batch with the logits of its images under `teacher`.

        On a CPU those of the next batch are computed in a thread while the student trains on this one. The thread
        touches NumPy and the engine alone: Paddle stays in the thread of the caller. On a GPU, which both share, they
        take turns. An engine computes in float32 whatever the student's `precision`.
        """
        if not self.beside:
            for batch in batches:
                yield {**batch, "teacher": Outputs({"logits": self(batch["image"])})}
            return
        with ThreadPoolExecutor(1, thread_name_prefix="ssld-teacher") as worker:
            ahead = None
            for following in batches:
                current, ahead = ahead, (following, worker.submit(self.run, following["image"].numpy()))
                if current:
                    yield _with_logits(*current)
            if ahead:
                yield _with_logits(*ahead)


def in_engine(
    teacher: TeacherLogits, name: str, size: int, batch: int, runtime: Runtime
) -> TeacherLogits | EngineLogits:
    """The teacher in the engine of that name, for `batch` images [3, size, size] a call.

    `auto` measures eager Paddle and every engine that can run here for a few batches and takes the `fastest`. Raises
    what `check_engine` raises.
    """
    check_engine(name, runtime)
    if name == "eager":
        return teacher
    threads = max(1, cores() // runtime.world)  # an eager training step takes one core, and that not all the time
    if name == "auto":
        return best(teacher, size, batch, threads, runtime)
    return compiled(teacher, name, size, batch, threads)


def check_engine(name: str, runtime: Runtime) -> None:
    """Raise unless the named engine can compute a teacher's logits here: before a stage has been trained in vain.

    RunError for an engine of another device than the student's, and on any GPU but the first, which is where engines
    run; DeployError for one that is not installed; RecipeError for a name that there is none of.
    """
    if name == "eager":
        return
    if name != "auto" and device_of(name) != device(runtime):
        raise RunError(f"teacher.engine {name} runs on a {device_of(name).upper()}; set teacher.engine=eager")
    if runtime.gpu:
        raise RunError(
            f"teacher.engine {name} runs on GPU 0, this rank has GPU {runtime.gpu}; set teacher.engine=eager"
        )
    if name != "auto":
        ready(name)


def device(runtime: Runtime) -> str:
    return "cpu" if runtime.gpu is None else "gpu"


def compiled(teacher: TeacherLogits, engine: str, size: int, batch: int, threads: int) -> EngineLogits:
    """The teacher in an engine, tried on `batch` drawn images [3, size, size]."""
    with exported(teacher, size, [format_of(engine)]) as folder:
        return EngineLogits(teacher, engine, folder, drawn(size, batch), threads)


def best(teacher: TeacherLogits, size: int, batch: int, threads: int, runtime: Runtime) -> TeacherLogits | EngineLogits:
    """The fastest of eager Paddle and the engines that can run here and agree with it."""
    able = [engine for engine, reason in usable().items() if not reason and device_of(engine) == device(runtime)]
    names = [engine for engine in able if format_of(engine) != "paddle2"]  # the kernels of `paddle`, an older program
    ways: dict[str, TeacherLogits | EngineLogits] = {"eager": teacher}
    images = drawn(size, batch)
    with exported(teacher, size, sorted({format_of(engine) for engine in names})) as folder:
        for engine in names:
            try:
                ways[engine] = EngineLogits(teacher, engine, folder, images, threads)
            except (DeployError, RunError) as error:
                note(f"teacher.engine auto: {engine} is left out; {error}")
    return ways[fastest(ways, teacher, images, runtime)]


def drawn(size: int, batch: int) -> Array:
    """float32 [batch, 3, size, size], about as normalised images are."""
    return np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype("float32")


def fastest(ways: Mapping[str, Any], student: Callable[[Any], Any], images: Array, runtime: Runtime) -> str:
    """The way to the logits that delays a student least, over all ranks; says what each took.

    Between two batches `student` works, in practice the eager teacher in its place: an engine that holds the GIL
    while it computes, as Paddle Inference does, gains nothing from a second core; one that lets go of it hides there.
    """
    batches = [{"image": paddle.to_tensor(images)}] * BATCHES
    taken = np.zeros((ROUNDS + 1, len(ways)))
    for turn in taken:  # the first one warms up
        for number, way in enumerate(ways.values()):
            start = time.perf_counter()
            for batch in way.labelled(batches):
                student(batch["image"])
            turn[number] = (time.perf_counter() - start) / BATCHES
    seconds = dict(zip(ways, sum_over_ranks(np.median(taken[1:], axis=0), runtime) / runtime.world, strict=True))
    chosen = min(seconds, key=lambda name: seconds[name])
    if runtime.main:
        times = ", ".join(f"{name} {1000 * value:.1f}" for name, value in sorted(seconds.items(), key=lambda s: s[1]))
        note(f"teacher.engine auto: {chosen}; ms for {len(images)} images beside an eager forward: {times}")
    return chosen


@contextmanager
def exported(teacher: TeacherLogits, size: int, formats: list[str]) -> Iterator[Path]:
    """A folder with the teacher in these formats, from the student's images to logits, gone afterwards."""
    given = {"size": size, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": size}
    arch, classes = teacher.network.arch, teacher.network.num_classes
    contract = {"arch": arch, "classes": classes, "digest": "teacher", "input": given}
    with tempfile.TemporaryDirectory(prefix="ssld-teacher-") as scratch:
        export_model(teacher, Path(scratch) / "export", name=arch, formats=formats, contract=contract)
        yield Path(scratch) / "export"


def _with_logits(batch: Batch, logits: Future[Array]) -> Batch:
    return {**batch, "teacher": Outputs({"logits": paddle.to_tensor(logits.result())})}
