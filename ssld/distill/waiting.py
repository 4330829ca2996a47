"""Tell a training that waits for its images from one that computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ssld.distill.job import Job
from ssld.interfaces import Batch
from ssld.progress import note
from ssld.runtime import cores

PATIENCE = 10.0  # seconds of training before anything is said
SHARE = {"cpu": 0.5, "gpu": 0.9}  # of the time: on a GPU the processor waits for images while the GPU still computes


class Waiting:
    """Count how long a training waits for the images of its loader, and say once where that is most of its time.

    The clock runs from the first batch on. Evaluations and checkpoints, which are `paused`, do not count.
    """

    def __init__(self, job: Job):
        self._job = job
        self._began: float | None = None
        self._waited = self._paused = 0.0
        self._silent = not job.runtime.main

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches of the loader, and count the time that each takes to come, but for the first one."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            if self._began is None:
                self._began = time.monotonic()
            else:
                self._waited += time.monotonic() - asked
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of the block."""
        begin = time.monotonic()
        yield
        self._paused += time.monotonic() - begin

    def tell(self) -> None:
        """Say on standard error, once, that most of the time goes into waiting for images."""
        if self._silent or self._began is None:
            return
        seconds = time.monotonic() - self._began - self._paused
        share = self._waited / seconds if seconds > PATIENCE else 0.0
        if share > SHARE["cpu" if self._job.runtime.gpu is None else "gpu"]:
            self._silent = True
            data = self._job.stage.data
            advice = f"store the images smaller, crops have {data.size} px"
            if data.threads < cores():
                advice += f", or raise stages.{self._job.name}.data.threads from {data.threads} up to {cores()}"
            what = f"{100 * share:.0f} % of the time is waiting for images ({self._job.train.read_so_far()})"
            note(f"stage {self._job.name}: {what}; {advice}")
