"""Load images as Paddle batches. DALI does the work; `augment` and `sampler` draw what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import paddle

from ssld.data import policies, sampler
from ssld.data.augment import draw
from ssld.data.feed import Feed, Job, Relay, Stream, to_paddle
from ssld.data.geometry import eval_geometry
from ssld.data.graph import after_resize, decode_graph, eval_graph, interpolation_of, train_graph
from ssld.data.mix import mix
from ssld.data.normalise import finish
from ssld.data.resample import Resample, hand_on, jobs, resampler
from ssld.data.resample import finish as finish_decoded
from ssld.data.sources import ImageSource
from ssld.errors import DataError
from ssld.interfaces import Batch
from ssld.spec.colours import WHITE, Colour

FRESH = 2**62  # so many views of an image that every epoch shows a new one
TURNS = 4  # rotations of an image, by 0, 90, 180 and 270 degrees


@dataclass(frozen=True)
class Views:
    """Give every image a number of random views, the same for all who have the seed: epoch e shows view e % number.

    Where images are mixed, a view fixes the order of the images too, and with it the partners.
    """

    seed: int
    number: int


@dataclass(frozen=True)
class FurtherView:
    """Show the images of a batch once more, changed by `augment` with numbers drawn from `seed`, anew every epoch."""

    augment: Any
    seed: int


class Loader:
    """Make the training batches of one rank.

    source: the images, of list files, arrays or samples (`sources`); size: side of the square output in pixels; batch:
    images in a global step, over all ranks and `accumulate` micro-batches; augment: see `augment.Augment`; mean, std:
    of RGB in 0..1; device: None = CPU, else the GPU's number; threads: DALI's; prefetch: batches made in advance;
    views: show each image in these views only; background: RGB 0..255, the colour behind transparent pixels; further:
    views of the same images beside the first one, by name; turned: name of a view of the images of the first one in
    four rotations.

    A batch is a pure function of (source, seed, step, batch, accumulate * world): the same on 1 rank x 2 micro-batches
    and on 2 ranks, for any number of threads, and when a run starts in the middle. It raises DataError for too few
    images, for a global batch that does not divide, and for an unreadable image, which it names.
    """

    def __init__(
        self, source: ImageSource, *, size: int, batch: int, augment: Any, mean: Sequence[float], std: Sequence[float],
        seed: int, accumulate: int = 1, rank: int = 0, world: int = 1, threads: int = 1, device: int | None = None,
        interpolation: str = "linear", prefetch: int = 2, views: Views | None = None, background: Colour = WHITE,
        further: Mapping[str, FurtherView] | None = None, turned: str | None = None,
    ):  # fmt: skip
        self.steps_per_epoch = sampler.steps_per_epoch(len(source), batch)
        self._micro = sampler.micro_size(batch, accumulate, world)
        self._views, self._marked = views or Views(seed, FRESH), views is not None
        self._mixes = augment.mixup > 0 or augment.cutmix > 0
        self._source, self._augment, self._seed, self._turned = source, augment, seed, turned
        self._batch, self._accumulate, self._rank, self._world = batch, accumulate, rank, world
        self._orders: dict[int, np.ndarray] = {}
        pipeline, look = _pipeline(self._micro, threads, device, prefetch), _look(size, mean, std, interpolation)
        crops = partial(_Crops, source, pipeline=pipeline, look=look, background=background)
        self._crops = crops(augment, self._views)
        self._further = {name: crops(view.augment, Views(view.seed, FRESH)) for name, view in (further or {}).items()}

    def batches(self, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the micro-batches of the global steps start_step..stop_step-1, counted from the run's beginning.

        A batch has `image` float32 [b, 3, size, size] normalised, `label` int64 [b] (-1 = unlabelled), `index` int64
        [b] (place in `source`), and with mixup or CutMix also `label_b` int64 [b] and `lam` float, the first image's
        share. A batch of a loader of views also has `view`, int, and `place`, int64 [b] in NumPy: where the images
        stand in `order(view)`. With further views it has `views`, name -> float32 [b, 3, size, size], where images are
        mixed as those of `image` are; rotations are [4b, 3, size, size], and `rotation`, int64 [4b], says which.
        """
        number = start_step * self._accumulate * self._world + self._rank
        streams = [crops.run(self._jobs(start_step, stop_step)) for crops in (self._crops, *self._further.values())]
        for (index, image), *others in zip(*streams, strict=True):
            epoch, within = divmod(number, self._per_epoch)
            view = epoch % self._views.number
            batch = _batch(self._source, index, image)
            if self._further:
                batch["views"] = {name: images for name, (_, images) in zip(self._further, others, strict=True)}
            batch = with_rotations(self._mix(batch, view, within), self._turned)
            if self._marked:
                place = within * self._micro + np.arange(len(index)) if self._mixes else index
                batch["view"], batch["place"] = view, place
            yield batch
            number += self._world

    def read_so_far(self) -> str:
        """Say in words how large the images are that were read."""
        return self._crops.feed.read.text(self._source)

    def order(self, view: int) -> np.ndarray:
        """Return the images of a view, int64 positions in `files`: all, or of mixed images those of whole batches."""
        if not self._mixes:
            return np.arange(len(self._source))
        whole = self.steps_per_epoch * self._batch
        return sampler.epoch_order(self._views.seed, view, len(self._source))[:whole]

    def of_view(self, view: int, numbers: Iterable[int]) -> Iterator[Batch]:
        """Yield micro-batches of `order(view)` by their numbers, as `batches` yields them where images are mixed."""
        numbers, order = list(numbers), self.order(view)
        jobs = ((view, order[n * self._micro : (n + 1) * self._micro]) for n in numbers)
        for number, (index, image) in zip(numbers, self._crops.run(jobs), strict=True):
            yield self._mix(_batch(self._source, index, image), view, number)

    @property
    def _per_epoch(self) -> int:
        """Return the number of micro-batches of an epoch, over all ranks."""
        return self.steps_per_epoch * self._accumulate * self._world

    def _mix(self, batch: Batch, view: int, number: int) -> Batch:
        return mix(batch, self._augment, self._views.seed, view * self._per_epoch + number)

    def _jobs(self, start: int, stop: int) -> Iterator[Job]:
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            samples = self._order(epoch)[place * self._batch : (place + 1) * self._batch]
            for micro in range(self._accumulate):
                yield epoch, samples[sampler.micro_slice(self._batch, self._accumulate, self._world, self._rank, micro)]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            seed, number = (self._views.seed, epoch % self._views.number) if self._mixes else (self._seed, epoch)
            self._orders = {epoch: sampler.epoch_order(seed, number, len(self._source))}
        return self._orders[epoch]


class _Crops:
    """Make the images of one view of a training, float32 [b, 3, size, size], in any order of batches.

    views: the seed of what is drawn, and how many views of an image there are.
    """

    def __init__(
        self, source: ImageSource, augment: Any, views: Views, *, pipeline: dict[str, Any], look: dict[str, Any],
        background: Colour,
    ):  # fmt: skip
        self._augment, self._views, self._size = augment, views, look["size"]
        size, mean, std, threads = look["size"], look["mean"], look["std"], pipeline["num_threads"]
        on_cpu = pipeline["device_id"] is None
        self._resample = resampler(look["interpolation"], mean, std, threads) if on_cpu else None
        self._slots, erase = policies.slots(augment), augment.erase > 0
        self.feed = feed = Feed(source, self._numbers, threads, background)
        whole = partial(train_graph, slots=self._slots, erase=erase, pad=augment.pad > 0, **look, **pipeline)
        if self._resample and self._slots:
            handed = after_resize(self._slots, erase)
            decode = partial(decode_graph, feed, crop=True, handed=handed, **pipeline)
            relay = Relay(Stream(feed, decode, hand_on(self._resample, size)))
            self._stream = Stream(relay, partial(whole, relay, resized=True), finish(mean, std))
        else:
            self._stream = _stream(feed, partial(whole, feed), self._resample, crop=True, look=look, pipeline=pipeline)

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (index, images) for each job; see `Stream.run`."""
        return self._stream.run(jobs)

    def _numbers(self, epoch: int, index: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        d = draw(self._augment, self._views.seed, epoch % self._views.number, index, sizes, self._size)
        auto = [np.ascontiguousarray(part[:, s]) for s in range(self._slots) for part in (d.kind, d.value, d.warp)]
        after = [d.flip, *auto, *([d.erase_anchor, d.erase_shape] if self._augment.erase > 0 else [])]
        if not self._resample:
            return [d.anchor, d.shape, *([d.shift] if self._augment.pad else []), *after]
        if self._slots:
            return [d.anchor, d.shape, jobs(len(index), self._size, shift=d.shift), *after]
        return [d.anchor, d.shape, jobs(len(index), self._size, 0, d.flip, d.erase_anchor, d.erase_shape, d.shift)]


def with_rotations(batch: Batch, view: str | None) -> Batch:
    """Return the batch with the view of that name: its images turned by 0, 1, 2 and 3 quarters, counter-clockwise.

    Row 4i + k of the view, [4b, 3, S, S], is image i after k quarter turns, and so `rotation` says of each row. No
    pixel changes its value. Without a view the batch is returned unchanged.
    """
    if view is None:
        return batch
    image = batch["image"]
    turned = paddle.stack([image, *(paddle.rot90(image, k, axes=[2, 3]) for k in range(1, TURNS))], axis=1)
    views = {**batch.get("views", {}), view: turned.flatten(0, 1)}
    return {**batch, "views": views, "rotation": paddle.arange(TURNS).tile([len(image)])}


class EvalLoader:
    """Make evaluation batches of every image once, in order: short side `resize`, then the centre `size` x `size`.

    Rank r of `world` takes the r-th contiguous share; the last batch may be smaller. `len()` is this rank's number of
    batches, `images` of images. Other options are those of `Loader`. It raises DataError for resize < size, and for an
    unreadable image, which it names.
    """

    def __init__(
        self, source: ImageSource, *, size: int, resize: int, batch: int, mean: Sequence[float], std: Sequence[float],
        rank: int = 0, world: int = 1, threads: int = 1, device: int | None = None, interpolation: str = "linear",
        prefetch: int = 2, background: Colour = WHITE,
    ):  # fmt: skip
        if resize < size:
            raise DataError(f"evaluation: resize {resize} is smaller than the crop {size}; set resize >= size")
        self._share = np.arange(rank * len(source) // world, (rank + 1) * len(source) // world)
        self.images, self._source, self._batch = len(self._share), source, batch
        pipeline, look = _pipeline(batch, threads, device, prefetch), _look(size, mean, std, interpolation)
        resample = None if device is not None else resampler(interpolation, mean, std, threads)

        def numbers(epoch: int, index: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
            resized, corner = eval_geometry(sizes, resize, size)
            if resample:
                return [jobs(len(index), resized, corner)]
            return [resized.astype(np.float32), corner.astype(np.int32)]

        feed = Feed(source, numbers, threads, background)
        whole = partial(eval_graph, feed, **look, **pipeline)
        self._stream = _stream(feed, whole, resample, crop=False, look=look, pipeline=pipeline)

    def __len__(self) -> int:
        return -(-self.images // self._batch)

    def batches(self) -> Iterator[Batch]:
        """Yield batches of `image`, `label`, `index` as `Loader.batches` does."""
        starts = range(0, self.images, self._batch)
        for index, image in self._stream.run((0, self._share[s : s + self._batch]) for s in starts):
            yield _batch(self._source, index, image)


def _look(size: int, mean: Sequence[float], std: Sequence[float], interpolation: str) -> dict[str, Any]:
    interpolation_of(interpolation)  # a wrong name fails before the first batch
    return {"size": size, "mean": mean, "std": std, "interpolation": interpolation}


def _pipeline(batch: int, threads: int, device: int | None, prefetch: int) -> dict[str, Any]:
    return {"batch_size": batch, "num_threads": threads, "device_id": device, "prefetch_queue_depth": prefetch}


def _stream(
    feed: Feed, whole: Callable[[], Any], resample: Resample | None, *, crop: bool, look: dict[str, Any],
    pipeline: dict[str, Any],
) -> Stream:  # fmt: skip
    """Build the stream of a loader.

    On a GPU DALI makes everything (`whole`); on a CPU it decodes and, without `resample`, resizes.
    """
    if resample:
        return Stream(feed, partial(decode_graph, feed, crop=crop, **pipeline), finish_decoded(resample, look["size"]))
    return Stream(feed, whole, finish(look["mean"], look["std"]) if pipeline["device_id"] is None else to_paddle)


def _batch(source: ImageSource, index: np.ndarray, image: Any) -> Batch:
    return {"image": image, "label": paddle.to_tensor(source.labels[index]), "index": paddle.to_tensor(index)}
