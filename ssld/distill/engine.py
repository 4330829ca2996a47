"""Run a teacher in an inference engine.

The engine gives the same logits sooner, and on a CPU it computes them on another core while the student trains.
"""

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor

from ssld.deploy import device_of, export_model, format_of, ready, rounding, shaped, usable
from ssld.deploy.gate import eager_logits, far_apart
from ssld.distill.arrays import Floats
from ssld.distill.teacher import TeacherLogits
from ssld.errors import DeployError, RunError
from ssld.interfaces import Batch, Outputs, Precision, images_of
from ssld.losses.base import Shape
from ssld.losses.views import named
from ssld.progress import note
from ssld.runtime import Runtime, cores, sum_over_ranks

ROUNDS = 3  # rounds in which the engines take turns before one is chosen
BATCHES = 3  # batches of a round


class EngineLogits:
    """Give the logits of a `TeacherLogits` from an engine of `ssld list engines` that holds the exported network.

    Normalisation and resizing are part of the export. Raises RunError when the engine's logits on drawn images differ
    from those of the network by more than rounding explains (`ssld.deploy.rounding`).
    """

    beside = True
    gives = frozenset({"logits"})

    def __init__(self, teacher: TeacherLogits, engine: str, folder: Path, images: Floats, threads: int, key: str):
        self.engine, self.beside, self.views = engine, device_of(engine) == "cpu", list(teacher.passes)
        size, batch, self.classes = images.shape[-1], len(images), teacher.network.num_classes
        self.most = batch
        self.run = ready(engine, threads=threads, **shaped(engine, (1, batch, batch), size)).load(folder)
        reference, logits = eager_logits(teacher, images), self.run(images)
        bound = rounding.share(teacher, "fp32") * float(np.abs(reference).max())
        if failure := far_apart(engine, reference, logits, bound):
            raise RunError(f"teacher {teacher.network.arch}: {failure}; set {key}=eager")

    def __call__(self, images: Tensor) -> Tensor:
        return paddle.to_tensor(self.run(images.numpy()))

    def shapes(self, names: Collection[str], size: int) -> dict[str, Shape]:
        """Return the shape of the logits without the batch."""
        return {name: (self.classes,) for name in names}

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, Shape]]:
        """Return no shapes, because there is only one teacher."""
        return {}

    def read(self, names: Collection[str]) -> None:
        """Keep to the logits, which are all that an engine gives."""

    def labelled(self, batches: Iterable[Batch], precision: Precision = nullcontext) -> Iterator[Batch]:
        """Yield each batch with the logits of its images under `teacher`.

        On a CPU a thread computes the logits of the next batch while the student trains on the current one. The thread
        uses NumPy and the engine alone; Paddle stays in the thread of the caller. On a GPU, which both share, engine
        and student take turns. An engine computes in float32 whatever the student's `precision` is.
        """
        if not self.beside:
            for batch in batches:
                yield _with_logits(batch, self._of_views(self._views_of(batch)))
            return
        with ThreadPoolExecutor(1, thread_name_prefix="ssld-teacher") as worker:
            pending = None
            for batch_ahead in batches:
                current, pending = pending, (batch_ahead, worker.submit(self._of_views, self._views_of(batch_ahead)))
                if current:
                    yield _with_logits(current[0], current[1].result())
            if pending:
                yield _with_logits(pending[0], pending[1].result())

    def _views_of(self, batch: Batch) -> dict[str, Floats]:
        """Return the images of the views that the losses read of the teacher, by the name of the view."""
        return {view: images_of(batch, view).numpy() for view in self.views}

    def _of_views(self, images: dict[str, Floats]) -> dict[str, Floats]:
        """Return the logits of the images of each view, at most as many images a call as a micro-batch has."""
        return {
            view: self.run(rows)
            if len(rows) <= self.most
            else np.concatenate([self.run(part) for part in np.split(rows, range(self.most, len(rows), self.most))])
            for view, rows in images.items()
        }


def in_engine(
    teacher: TeacherLogits, name: str, size: int, batch: int, runtime: Runtime, key: str = "teacher.engine"
) -> TeacherLogits | EngineLogits:
    """Return the teacher in the engine of that name, for `batch` images [3, size, size] a call.

    `key` is the key of the recipe that names the engine. `auto` measures eager Paddle and every engine that can run
    here for a few batches, and takes the `fastest`. Raises what `check_engine` raises.
    """
    check_engine(name, runtime, key)
    if name == "eager":
        return teacher
    threads = max(1, cores() // runtime.world)  # an eager training step takes at most one core
    if name == "auto":
        return best(teacher, size, batch, threads, runtime, key)
    return compiled(teacher, name, size, batch, threads, key)


def check_engine(name: str, runtime: Runtime, key: str) -> None:
    """Check that the engine that `key` names can compute a teacher's logits here, before a stage is trained in vain.

    Raises RunError for an engine of another device than the student's, and on any GPU but the first, because engines
    run on GPU 0. Raises DeployError for an engine that is not installed, and RecipeError for a name that no engine has.
    """
    if name == "eager":
        return
    if name != "auto" and device_of(name) != device(runtime):
        raise RunError(f"{key}: {name} runs on a {device_of(name).upper()}; set {key}=eager")
    if runtime.gpu:
        raise RunError(f"{key}: {name} runs on GPU 0, this rank has GPU {runtime.gpu}; set {key}=eager")
    if name != "auto":
        ready(name)


def device(runtime: Runtime) -> str:
    """Return the kind of device, `cpu` or `gpu`, that this process computes on."""
    return "cpu" if runtime.gpu is None else "gpu"


def compiled(teacher: TeacherLogits, engine: str, size: int, batch: int, threads: int, key: str) -> EngineLogits:
    """Return the teacher in the engine that `key` names, tried on `batch` drawn images [3, size, size]."""
    with exported(teacher, size, [format_of(engine)]) as folder:
        return EngineLogits(teacher, engine, folder, drawn(size, batch), threads, key)


def best(
    teacher: TeacherLogits, size: int, batch: int, threads: int, runtime: Runtime, key: str
) -> TeacherLogits | EngineLogits:
    """Return the fastest of eager Paddle and the engines that can run here and agree with it."""
    usable_engines = [
        engine for engine, reason in usable().items() if not reason and device_of(engine) == device(runtime)
    ]
    # An engine of the format paddle2 has the kernels of the engine `paddle`, with an older form of program.
    names = [engine for engine in usable_engines if format_of(engine) != "paddle2"]
    ways: dict[str, TeacherLogits | EngineLogits] = {"eager": teacher}
    images = drawn(size, batch)
    with exported(teacher, size, sorted({format_of(engine) for engine in names})) as folder:
        for engine in names:
            try:
                ways[engine] = EngineLogits(teacher, engine, folder, images, threads, key)
            except (DeployError, RunError) as error:
                note(f"{key} auto: {engine} is left out; {error}")
    return ways[fastest(ways, teacher, images, runtime, key)]


def drawn(size: int, batch: int) -> Floats:
    """Return random numbers float32 [batch, 3, size, size] with about the values of normalised images."""
    return np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)


def fastest(
    ways: Mapping[str, TeacherLogits | EngineLogits],
    student: Callable[[Tensor], object],
    images: Floats,
    runtime: Runtime,
    key: str,
) -> str:
    """Return the name of the way to the logits that delays a student least, over all ranks, and print the time of each.

    Between two batches `student` works; in practice the eager teacher takes its place. An engine that holds the GIL
    while it computes, as Paddle Inference does, gains nothing from a second core. An engine that releases the GIL
    computes while the student works.
    """
    batches: list[Batch] = [{"image": paddle.to_tensor(images)}] * BATCHES
    turns = np.zeros((ROUNDS + 1, len(ways)))
    for turn in turns:  # the first turn warms up
        for number, way in enumerate(ways.values()):
            start = time.perf_counter()
            for batch in way.labelled(batches):
                student(batch["image"])
            turn[number] = (time.perf_counter() - start) / BATCHES
    seconds = dict(zip(ways, sum_over_ranks(np.median(turns[1:], axis=0), runtime) / runtime.world, strict=True))
    winner = min(seconds, key=lambda name: seconds[name])
    if runtime.main:
        times = ", ".join(f"{name} {1000 * value:.1f}" for name, value in sorted(seconds.items(), key=lambda s: s[1]))
        note(f"{key} auto: {winner}; ms for {len(images)} images beside an eager forward: {times}")
    return winner


@contextmanager
def exported(teacher: TeacherLogits, size: int, formats: list[str]) -> Iterator[Path]:
    """Export the teacher in these formats, from the student's images to logits, and yield the folder.

    The folder is removed afterwards.
    """
    input_facts = {"size": size, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": size}
    arch, classes = teacher.network.arch, teacher.network.num_classes
    contract = {"arch": arch, "classes": classes, "digest": "teacher", "input": input_facts}
    with tempfile.TemporaryDirectory(prefix="ssld-teacher-") as scratch:
        export_model(teacher, Path(scratch) / "export", name=arch, formats=formats, contract=contract)
        yield Path(scratch) / "export"


def _with_logits(batch: Batch, logits: dict[str, Floats]) -> Batch:
    outputs = {named(view, "logits"): paddle.to_tensor(values) for view, values in logits.items()}
    return {**batch, "teacher": Outputs(outputs)}
