"""What several ranks compute: `python -m paddle.distributed.launch ... two_ranks.py OUT` writes arrays of each rank."""

import sys
from pathlib import Path

import numpy as np

from ssld import runtime
from ssld.distill import parallel
from tests.unit import dot_ranks, peer_ranks, sync_ranks

if __name__ == "__main__":
    here = runtime.start("cpu")
    found = {"shared": dot_ranks.train(here), "peers shared": peer_ranks.train(here)}
    parallel.shared_memory = lambda runtime, size: None  # as where the ranks share no memory
    found |= {"sockets": dot_ranks.train(here), "peers sockets": peer_ranks.train(here), "sync": sync_ranks.train(here)}
    for way, arrays in found.items():
        np.savez(Path(sys.argv[1]) / f"{way}-{here.rank}.npz", **arrays)
