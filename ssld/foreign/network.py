"""Ask a network that another framework trained like a teacher: images go in, logits and taps come out."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ssld.config.foreign import LOGITS, NetworkSpec, check_network
from ssld.config.keys import plain
from ssld.errors import RunError
from ssld.files import sha256
from ssld.foreign import checks
from ssld.foreign.classes import read_classes
from ssld.foreign.onnx_engine import OnnxEngine
from ssld.foreign.paddle_engine import PaddleEngine
from ssld.foreign.tensors import AnyArray, Array, Engine

FLOOR = float(np.finfo(np.float32).tiny)
"""Smallest probability, 2^-126 or about 1.2e-38, that is told from 0; its logit is -87.3."""


class ForeignNetwork:
    """Turn images float32 [n, 3, S, S] into {"logits": float32 [n, classes], and each tap: float32 [n, ...]}.

    The images are RGB and already normalised as `spec.input` says. `classes` is the number of classes of the recipe,
    and the logits are in its order. A network with a batch of fixed size b is run on groups of b images, of which the
    last one is filled up.

    Probabilities p become the logits log(max(p, FLOOR)). Their softmax is p again, and at a temperature T it is that of
    the network's own logits z: log p is z less one number for each image, and no softmax sees that number. Only what
    the network rounded is lost, such as a p of 0.

    A new one is run on a few drawn images. It raises RecipeError where it is not what `spec` says, RunError where it
    cannot be read or run; the message is one line.
    """

    kind: str

    def __init__(self, engine: Engine, spec: NetworkSpec, classes: int):
        check_network(spec, f"{engine.where}: ")
        self.where, self.spec, self.classes, self._engine = engine.where, spec, classes, engine
        self._batch = checks.check_image(engine.image, spec.input, engine.where)
        output = checks.choose_output(engine, spec)
        checks.check_taps(engine, spec)
        self._order = read_classes(Path(spec.classes_file), classes) if spec.classes_file else None
        tensors = list(dict.fromkeys((output, *spec.taps.values())))
        self._places = {LOGITS: tensors.index(output), **{tap: tensors.index(t) for tap, t in spec.taps.items()}}
        engine.load(tensors)
        self._probe()

    @property
    def gives(self) -> tuple[str, ...]:
        """Return the names of what a call returns: `logits`, then the taps."""
        return tuple(self._places)

    def __call__(self, images: Array) -> dict[str, Array]:
        """Return the outputs.

        It raises RunError where the engine fails, or for images of another shape than [1 or more, 3, S, S].
        """
        tensors = self._tensors(images)
        return {
            name: self._logits(tensors[place]) if name == LOGITS else tensors[place].astype(np.float32)
            for name, place in self._places.items()
        }

    def identity(self) -> dict[str, object]:
        """Return what the outputs depend on, as plain values for a digest: kind, sha256 of each file, classes, spec.

        `files` also holds the weights that an ONNX file keeps beside it. The mapping file counts by what it holds and
        not by its path. Files are read once.
        """
        spec: dict[str, object] = plain(self.spec) | {"classes_file": self._mapping_digest}
        return {"kind": self.kind, "files": dict(self._digests), "classes": self.classes, "spec": spec}

    @cached_property
    def _digests(self) -> dict[str, str]:
        return self._engine.digests()

    @cached_property
    def _mapping_digest(self) -> str | None:
        return sha256(Path(self.spec.classes_file)) if self.spec.classes_file else None

    def _tensors(self, images: Array) -> list[AnyArray]:
        """Return the tensors that were asked of the engine, each with one row for an image."""
        count, size = len(images), self.spec.input.size
        if images.shape != (count, 3, size, size) or not count:
            raise RunError(f"{self.where}: images {list(images.shape)}; give [1 or more, 3, {size}, {size}]")
        tensor = self._fed(images)
        if self._batch is None:
            return self._checked(self._engine.run(tensor), count)
        tensor = np.concatenate([tensor, np.repeat(tensor[-1:], -count % self._batch, axis=0)])
        groups = [
            self._checked(self._engine.run(tensor[start : start + self._batch]), self._batch)
            for start in range(0, len(tensor), self._batch)
        ]
        return [np.concatenate(parts)[:count] for parts in zip(*groups, strict=True)]

    def _fed(self, images: Array) -> AnyArray:
        """Return the same images as the network takes them: order of the channels and of the axes, type."""
        spec, dtype = self.spec.input, self._engine.image.dtype
        tensor = images[:, ::-1] if spec.channels == "bgr" else images
        tensor = tensor.transpose(0, 2, 3, 1) if spec.layout == "nhwc" else tensor
        if dtype == "uint8":
            tensor = np.rint(tensor).clip(0, 255)
        return np.ascontiguousarray(tensor, dtype=dtype)

    def _checked(self, tensors: Sequence[AnyArray], count: int) -> list[AnyArray]:
        for place, tensor in enumerate(tensors):
            checks.check_rows(tensor, count, f"{self.where}: {self._key(place)}")
        return list(tensors)

    def _key(self, place: int) -> str:
        """Return the key of the spec that asks for a tensor."""
        name = next(name for name, number in self._places.items() if number == place)
        return "output" if name == LOGITS else f"taps.{name}"

    def _logits(self, scores: AnyArray) -> Array:
        """Return float32 [n, classes] of what the output holds."""
        logits: Array = scores.reshape(len(scores), -1).astype(np.float32)
        if self.spec.gives == "probabilities":
            logits = np.log(np.maximum(logits, np.float32(FLOOR)))
        return logits if self._order is None else logits[:, self._order]

    def _probe(self) -> None:
        """Run the network on drawn images, together and one by one, and check what comes back."""
        images = checks.drawn(self.spec.input)
        together = self._tensors(images)
        checks.check_scores(together[self._places[LOGITS]], self.spec, self.classes, self._order, self.where)
        alone = [np.concatenate(rows) for rows in zip(*(self._tensors(image[None]) for image in images), strict=True)]
        for place, tensor in enumerate(together):
            checks.check_alone(tensor, alone[place], f"{self.where}: {self._key(place)}")


class OnnxNetwork(ForeignNetwork):
    """Run an ONNX file in ONNX Runtime: on `threads` of the CPU, or with `gpu` the CUDA kernels of that GPU.

    The output and the taps of `spec` may be any named tensor of the graph, not only its outputs.
    """

    kind = "onnx"

    def __init__(self, file: str | Path, spec: NetworkSpec, classes: int, threads: int, gpu: int | None = None):
        super().__init__(OnnxEngine(Path(file), threads, gpu), spec, classes)


class PaddleProgram(ForeignNetwork):
    """Run an inference program of Paddle 2 or 3: a folder with one, or its path with or without the suffix.

    It runs on `threads` of the CPU (Paddle keeps one number for the process, that of the program read last), or the GPU
    `gpu`.
    """

    kind = "paddle"

    def __init__(self, path: str | Path, spec: NetworkSpec, classes: int, threads: int, gpu: int | None = None):
        super().__init__(PaddleEngine(Path(path), threads, gpu), spec, classes)
