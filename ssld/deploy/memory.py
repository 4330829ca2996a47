"""The child process that says how much memory a network takes in an engine, alone.

    python -m ssld.deploy.memory FOLDER ENGINE '{"threads": 1, "precision": "fp32"}' BATCH SIZE

It loads the export, runs it three times on drawn images, and prints the peak of its resident memory in bytes (of an
engine on a GPU what it holds there). That includes Python and the engine's libraries: what a service would take.
"""

import os
import re
import sys
from pathlib import Path

RUNS = 3


def main(folder: str, engine: str, options: str, batch: str, size: str) -> None:
    import json

    from ssld.deploy import contract as contracts
    from ssld.deploy.engines.registry import ready
    from ssld.deploy.pictures import drawn

    built = ready(engine, **json.loads(options))
    run = built.load(Path(folder))
    images = drawn(contracts.read(Path(folder)), int(batch), int(size))
    for _ in range(RUNS):
        run(images)
    if built.device == "gpu":
        from ssld.deploy.machine import gpu_memory

        sys.stdout.write(f"peak {gpu_memory(os.getpid()) or ''}\n")
    else:
        sys.stdout.write(f"peak {peak()}\n")


def peak() -> int:
    """Bytes that this process had in memory at most, as Linux counts them."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(kibibytes) << 10


if __name__ == "__main__":
    main(*sys.argv[1:])
