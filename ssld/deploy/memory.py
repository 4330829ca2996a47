"""This child process measures how much memory a network takes in an engine, alone.

    python -m ssld.deploy.memory FOLDER ENGINE '{"threads": 1, "precision": "fp32"}' BATCH SIZE

It loads the export, runs it three times on random images, and prints the peak of its resident memory in bytes (of an
engine on a GPU the memory that it holds there). That includes Python and the engine's libraries: a service would take
as much.
"""

import os
import re
import sys
from pathlib import Path

RUNS = 3


def main(folder: str, name: str, options: str, batch: str, size: str) -> None:
    """Load the export in the engine of this name, run it, and print `peak` and the number of bytes."""
    import json

    from ssld.deploy import contract as contracts
    from ssld.deploy.engines.registry import ready
    from ssld.deploy.pictures import random_images

    engine = ready(name, **json.loads(options))
    run = engine.load(Path(folder))
    images = random_images(contracts.read(Path(folder)), int(batch), int(size))
    for _ in range(RUNS):
        run(images)
    if engine.device == "gpu":
        from ssld.deploy.machine import gpu_memory

        sys.stdout.write(f"peak {gpu_memory(os.getpid()) or ''}\n")
    else:
        sys.stdout.write(f"peak {peak()}\n")


def peak() -> int:
    """Return the most bytes that this process had in memory, as Linux counts them."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(kibibytes) << 10


if __name__ == "__main__":
    main(*sys.argv[1:])
