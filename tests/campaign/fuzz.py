"""Give changed files to a reader: `python -m tests.campaign.fuzz READER SECONDS`, or `fuzzed` from a test.

A reader may return or raise an `SsldError` of one line; it may take the memory that its bound allows, and no more.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from ssld.errors import SsldError
from tests.campaign.readers import MB, PIXELS, READERS, Reader, changed
from tests.unit.test_imports import ROOT

CHECKS: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
LONGEST = 2000  # characters of a message
SECONDS = 60  # of a campaign, for each reader
BATCH = 300  # so many files come from one seed
SPARE = 512 * MB  # of address space, for threads and for the fragments of an allocator


class Traced:
    """Measure what Python and NumPy allocate."""

    def start(self) -> None:
        tracemalloc.start()

    def taken(self) -> int:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak


class Resident:
    """Measure by how much the largest memory of this process grows, whoever takes it."""

    def start(self) -> None:
        self.before = self._largest()

    def taken(self) -> int:
        return self._largest() - self.before

    def _largest(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzzed(reader: Reader, measure: Traced | Resident, files: int, first: int | None = None) -> Counter[str]:
    """Give `files` files to a reader and count how many it read, and how many it refused.

    They are the same every time: those of the seed `first`, or those that follow from the code of the strategy.
    """
    said: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:

        @settings(max_examples=files, derandomize=first is None, **CHECKS)
        @given(changed(reader))
        def give(data: bytes) -> None:
            said[once(reader, data, Path(place) / "file", measure)] += 1

        (give if first is None else seed(first)(give))()
    return said


def once(reader: Reader, data: bytes, folder: Path, measure: Traced | Resident) -> str:
    """Give one file to a reader: `read` or `refused`. AssertionError for a message of several lines, and for memory."""
    shutil.rmtree(folder, ignore_errors=True)
    file = folder / reader.name
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    said, message = "read", ""
    measure.start()
    try:
        reader.read(folder)
    except SsldError as error:
        said, message = "refused", str(error)
    finally:
        taken = measure.taken()
    assert "\n" not in message, message
    assert len(message) < LONGEST, message
    assert taken <= reader.bound(len(data)), f"{taken:,} bytes for a file of {len(data):,}"
    return said


def warm(reader: Reader) -> int:
    """Read the valid files, so that what is imported on the way does not count; return the size of the largest."""
    valid = reader.valid()
    with tempfile.TemporaryDirectory() as place:
        for data in valid:
            once(replace(reader, fixed=1 << 40), data, Path(place) / "file", Resident())
    return max(map(len, valid))


def in_a_process(name: str, seconds: int) -> dict[str, int]:
    """Fuzz a reader for so many seconds in a process of its own, whose memory gets a limit; return what it counted."""
    words = [sys.executable, "-m", "tests.campaign.fuzz", name, str(seconds)]
    environment = {**os.environ, "SSLD_MAX_PIXELS": str(PIXELS), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-5000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert min(said["read"], said["refused"]) > 0, said
    return {"read": said["read"], "refused": said["refused"]}


def main(name: str, seconds: str) -> None:
    """Fuzz a reader for so many seconds in this process, whose memory gets a limit; print what was done as JSON."""
    reader, end, said, number = READERS[name], time.monotonic() + float(seconds), Counter[str](), 0
    most = reader.bound(warm(reader) + 64 * 1024) + SPARE
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + most, resource.RLIM_INFINITY))
    while time.monotonic() < end:
        number += 1
        said += fuzzed(reader, Resident(), BATCH, number)
    sys.stdout.write(json.dumps({"reader": name, "files": said.total(), **said, "seeds": number}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
