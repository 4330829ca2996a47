"""Feeds encoded images and drawn numbers to a DALI graph, and hands finished batches to Paddle without a copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import paddle

from ssld.data.check import fault
from ssld.data.header import image_size
from ssld.data.lists import FileList
from ssld.errors import DataError

Job = tuple[int, np.ndarray]  # epoch and the samples of one batch
AHEAD = 2  # batches whose files are being read while DALI works on those before


class Feed:
    """DALI's callback: reads the files of the next batch and adds what `numbers(epoch, index, sizes)` draws."""

    def __init__(
        self, files: FileList, numbers: Callable[[int, np.ndarray, np.ndarray], list[np.ndarray]], threads: int
    ):
        self._files, self._numbers, self._threads = files, numbers, max(2, threads)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="ssld-read")
        self.start(())

    def start(self, jobs: Iterable[Job]) -> None:
        """From now on feed these batches; forget the ones before."""
        self._jobs = iter(jobs)
        self._reading: deque[tuple[Job, list[Future]]] = deque()
        self.flying: deque[np.ndarray] = deque()  # fed, not yet come out of the graph

    def __call__(self) -> tuple[Any, ...]:
        while len(self._reading) < AHEAD and (job := next(self._jobs, None)) is not None:
            chunks = np.array_split(job[1], min(self._threads, len(job[1])))
            self._reading.append((job, [self._pool.submit(self._read, chunk) for chunk in chunks]))
        if not self._reading:
            raise StopIteration
        (epoch, index), futures = self._reading.popleft()
        read = [item for future in futures for item in future.result()]
        self.flying.append(index)
        sizes = np.array([size for _, size in read], dtype=np.int64)
        return ([data for data, _ in read], *self._numbers(epoch, index, sizes))

    def _read(self, index: np.ndarray) -> list[tuple[np.ndarray, tuple[int, int]]]:
        return [self._read_one(self._files.path(i)) for i in index]

    def _read_one(self, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        try:
            with open(path, "rb") as file:
                data = file.read()
            return np.frombuffer(data, dtype=np.uint8), image_size(data)
        except (OSError, ValueError) as error:
            raise unreadable(path, fault(path) or str(error)) from None

    def culprit(self, error: Exception) -> DataError:
        """The DataError for a batch that DALI could not decode: names the first image at fault of those in flight."""
        for index in self.flying:
            for i in index:
                reason = fault(self._files.path(i))
                if reason:
                    return unreadable(self._files.path(i), reason)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = next((line for line in lines if "failure" in line or "rror" in line[:40]), lines[0] if lines else "")
        return DataError(f"{self._files.root}: DALI could not process a batch ({message}); run `ssld data check`")


class Relay:
    """DALI's callback of a graph that goes on with what another one made."""

    def __init__(self, first: Stream):
        self._first = first
        self.start(())

    def start(self, jobs: Iterable[Job]) -> None:
        """From now on the first graph makes these batches."""
        self._made = self._first.run(jobs)
        self.flying: deque[np.ndarray] = deque()

    def __call__(self) -> tuple[Any, ...]:
        index, made = next(self._made)
        self.flying.append(index)
        return made

    def culprit(self, error: Exception) -> DataError:
        return self._first.culprit(error)


def unreadable(path: str, reason: str) -> DataError:
    one_line = " ".join(reason.split())
    return DataError(f"{path}: unreadable image ({one_line}); run `ssld data check` and mend or drop what it lists")


class Stream:
    """Runs a DALI pipeline over any sequence of batches, again and again, with one build."""

    def __init__(self, feed: Feed | Relay, build: Callable[[], Any], finish: Callable[[Any], Any]):
        self._feed, self._build, self._finish = feed, build, finish
        self.culprit = feed.culprit
        self._pipe: Any = None
        self._turn, self._ended = 0, True

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (index, image tensor) a batch. A new run ends the one before; DataError names an unreadable image."""
        self._rewind()
        self._feed.start(jobs)
        self._turn += 1
        turn, self._ended = self._turn, False
        while turn == self._turn:
            try:
                outputs = self._pipe.run()
            except StopIteration:
                self._ended = True
                return
            except RuntimeError as error:
                self._pipe = None
                raise self.culprit(error) from None
            except BaseException:  # from our callback: an unreadable file, Ctrl-C
                self._pipe = None  # a pipeline is beyond use after any failure
                raise
            yield self._feed.flying.popleft(), self._finish(outputs)
        raise RuntimeError("this loader was started again: only the latest `batches()` can be read")

    def _rewind(self) -> None:
        if self._pipe is not None and not self._ended:  # left in the middle: throw away what was prefetched
            self._feed.start(())
            try:
                while True:
                    self._pipe.run()
            except StopIteration:
                pass
            except RuntimeError:  # an unreadable image among the prefetched, which nobody asked for
                self._pipe = None
        if self._pipe is None:
            self._pipe = self._build()
            self._pipe.build()
        else:
            self._pipe.reset()


def to_paddle(outputs: Any) -> Any:
    """A Paddle tensor on DALI's memory; DALI's executor takes the buffer back only when the last user has gone."""
    return paddle.utils.dlpack.from_dlpack(outputs[0].as_tensor())
