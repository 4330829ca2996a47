"""Feed encoded images and drawn numbers to a DALI graph, and hand finished batches to Paddle without a copy."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ssld.data import readable
from ssld.data.readable import Unreadable
from ssld.data.sources import ImageSource, pnm
from ssld.errors import DataError
from ssld.spec.colours import WHITE, Colour

Job = tuple[int, np.ndarray]  # epoch and the samples of one batch
AHEAD = 2  # batches whose images are being read while DALI works on those before


@dataclass
class Read:
    """Count images that were read: how many, their pixels, and the size and place in the source of the largest one."""

    images: int = 0
    pixels: int = 0
    largest: tuple[int, int] = (0, 0)
    place: int = 0

    def add(self, index: np.ndarray, sizes: np.ndarray) -> None:
        """Count the images of a batch. sizes: int64 [n, 2], height and width."""
        areas = sizes.prod(axis=1)
        self.images, self.pixels = self.images + len(areas), self.pixels + int(areas.sum())
        most = int(areas.argmax())
        if areas[most] > self.largest[0] * self.largest[1]:
            height, width = sizes[most].tolist()
            self.largest, self.place = (height, width), int(index[most])

    def text(self, source: ImageSource) -> str:
        """Return the mean and the largest size in words."""
        if not self.images:
            return "none was read yet"
        height, width = self.largest
        mean = self.pixels / self.images / 1e6
        return f"{mean:.2g} million pixels in the mean, {source.name(self.place)} has {width} x {height}"


class Feed:
    """Serve as DALI's callback: read the images of the next batch and add what `numbers(epoch, index, sizes)` draws.

    background: the colour behind transparent pixels.
    """

    def __init__(
        self, source: ImageSource, numbers: Callable[[int, np.ndarray, np.ndarray], list[np.ndarray]], threads: int,
        background: Colour = WHITE,
    ):  # fmt: skip
        self._source, self._numbers, self._threads = source, numbers, max(2, threads)
        self._background = background
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="ssld-read")
        self.read = Read()
        self.start(())

    def start(self, jobs: Iterable[Job]) -> None:
        """Feed these batches from now on, and forget the ones before."""
        self._jobs = iter(jobs)
        self._reading: deque[tuple[Job, list[Future]]] = deque()
        self.flying: deque[np.ndarray] = deque()  # the batches that are in the graph
        self.failure: DataError | None = None  # why the feed ended before its last batch

    def __call__(self) -> tuple[Any, ...]:
        while len(self._reading) < AHEAD and (job := next(self._jobs, None)) is not None:
            chunks = np.array_split(job[1], min(self._threads, len(job[1])))
            self._reading.append((job, [self._pool.submit(self._read, chunk) for chunk in chunks]))
        if not self._reading:
            raise StopIteration
        (epoch, index), futures = self._reading.popleft()
        try:
            images = [item for future in futures for item in future.result()]
        except DataError as error:  # the batches before it are still in the graph: they come out first
            self._jobs, self.failure = iter(()), error
            self._reading.clear()
            raise StopIteration from None
        self.flying.append(index)
        sizes = np.array([size for _, size in images], dtype=np.int64)
        self.read.add(index, sizes)
        return ([data for data, _ in images], *self._numbers(epoch, index, sizes))

    def _read(self, index: np.ndarray) -> list[tuple[np.ndarray, tuple[int, int]]]:
        return [self._read_one(i) for i in index]

    def _read_one(self, index: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the bytes that DALI decodes, and the (height, width) of the image."""
        image = self._source.image(index)
        if isinstance(image, np.ndarray):
            return pnm(image), (image.shape[0], image.shape[1])
        try:
            encoded, size = readable.for_dali(readable.content(image), self._background)
        except Unreadable as error:
            raise self._unreadable(index, image, str(error)) from None
        return (np.frombuffer(encoded, dtype=np.uint8) if isinstance(encoded, bytes) else pnm(encoded)), size

    def culprit(self, error: Exception) -> DataError:
        """Return the DataError for a batch that DALI could not decode.

        It names the first image at fault of those in flight.
        """
        try:
            for i in itertools.chain.from_iterable(self.flying):
                image = self._source.image(i)
                if not isinstance(image, np.ndarray) and (reason := readable.fault(image)):
                    return self._unreadable(i, image, reason)
        except DataError as unreadable:
            return unreadable
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = next((line for line in lines if "failure" in line or "rror" in line[:40]), lines[0] if lines else "")
        where = self._source.name(int(self.flying[0][0])) if self.flying else self._source.title
        return DataError(f"{where}: DALI could not process the batch of this image ({message}); {self._source.remedy}")

    def _unreadable(self, index: int, image: str | bytes, reason: str) -> DataError:
        name, one_line = self._source.name(index), " ".join(reason.split())
        where = name if isinstance(image, bytes) or image == name else f"{name}, {image}"
        return DataError(f"{where}: unreadable image ({one_line}); {self._source.remedy}")


class Relay:
    """Serve as DALI's callback of a graph that goes on with the outputs of another one."""

    def __init__(self, first: Stream):
        self._first = first
        self.start(())

    def start(self, jobs: Iterable[Job]) -> None:
        """Let the first graph make these batches from now on."""
        self._made = self._first.run(jobs)
        self.flying: deque[np.ndarray] = deque()
        self.failure: DataError | None = None

    def __call__(self) -> tuple[Any, ...]:
        try:
            index, outputs = next(self._made)
        except DataError as error:
            self.failure = error
            raise StopIteration from None
        self.flying.append(index)
        return outputs

    def culprit(self, error: Exception) -> DataError:
        return self._first.culprit(error)


class Stream:
    """Run a DALI pipeline over any sequence of batches, again and again, with one build."""

    def __init__(self, feed: Feed | Relay, build: Callable[[], Any], finish: Callable[[Any], Any]):
        self._feed, self._build, self._finish = feed, build, finish
        self.culprit = feed.culprit
        self._pipe: Any = None
        self._turn, self._ended = 0, True

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (index, image tensor) for each batch.

        A new run ends the one before. DataError names an unreadable image.
        """
        self._rewind()
        self._feed.start(jobs)
        self._turn += 1
        turn, self._ended = self._turn, False
        while turn == self._turn:
            try:
                outputs = self._pipe.run()
            except StopIteration:
                self._ended = True
                if self._feed.failure:
                    raise self._feed.failure from None
                return
            except RuntimeError as error:
                self._pipe = None
                raise self.culprit(error) from None
            except BaseException:  # from our callback: a fault in the code, Ctrl-C
                self._pipe = None  # a pipeline is beyond use after any failure
                raise
            yield self._feed.flying.popleft(), self._finish(outputs)
        raise RuntimeError("this loader was started again: only the latest `batches()` can be read")

    def _rewind(self) -> None:
        if self._pipe is not None and not self._ended:  # the run was left in the middle: its prefetched batches go
            self._feed.start(())
            try:
                while True:
                    self._pipe.run()
            except StopIteration:
                pass
            except RuntimeError:  # one of the prefetched images is unreadable; nobody asked for it
                self._pipe = None
        if self._pipe is None:
            self._pipe = self._build()
            self._pipe.build()
        else:
            self._pipe.reset()


def to_paddle(outputs: Any) -> Any:
    """Return a Paddle tensor on DALI's memory; DALI's executor takes the buffer back when the last user has gone."""
    return paddle.utils.dlpack.from_dlpack(outputs[0].as_tensor())
