"""Forward passes of the zoo against those of the reference implementation, eager and exported, in CPU seconds.

    python benchmarks/zoo_forward.py --peer PATH [ARCH ...] [--size 224] [--batch 1] [--seconds 4]

PATH is a checkout of PaddleClas, branch develop. For each architecture both sides are built with fresh weights in one
process, on one thread, and take turns, so that other load hits both; exported means Paddle Inference without oneDNN.
A ratio is the CPU time of ours over the peer's, of each the fastest fifth of its calls: below 1 ours is faster.
Architectures that the peer has no code for are named and left out. Ends with one JSON line of the ratios.
"""

import argparse
import gc
import importlib
import json
import logging
import os
import re
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ssld  # before Paddle: it chooses MKL's fast path on AMD

os.environ.setdefault("GLOG_minloglevel", "2")

import numpy as np
import paddle

from ssld import models
from ssld.deploy import ready
from ssld.deploy.export import save_program
from ssld.runtime import hardware

PACKAGES = (
    "ppcls",
    "ppcls.utils",
    "ppcls.arch",
    "ppcls.arch.backbone",
)  # imported without what their __init__ would import
OTHER_NAMES = {"ShuffleNetV2": "ShuffleNetV2_x1_0"}

Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="checkout of PaddleClas")
    parser.add_argument("archs", nargs="*", help="default: all")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="limit for each comparison")
    args = parser.parse_args()
    paddle.set_device("cpu")
    warnings.simplefilter("ignore")
    peers = makers(args.peer)
    eager: dict[str, float] = {}
    exported: dict[str, float] = {}
    for arch in args.archs or models.names():
        if arch not in peers:
            print(f"{arch:28} left out: the peer has no code for it")
            continue
        images = np.random.default_rng(0).standard_normal((args.batch, 3, args.size, args.size)).astype("float32")
        ours, peer = models.create(arch), peers[arch]()
        eager[arch] = ratio(eager_call(ours, images), eager_call(peer, images), args.seconds)
        exported[arch] = ratio(exported_call(ours, images), exported_call(peer, images), args.seconds)
        print(f"{arch:28} eager {eager[arch]:.3f}   exported {exported[arch]:.3f}", flush=True)
        del ours, peer
        gc.collect()
    conditions = {
        "hardware": hardware(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "paddle": paddle.__version__,
        "ssld": ssld.__version__,
        "size": args.size,
        "batch": args.batch,
    }
    print(json.dumps({"benchmark": "zoo_forward", **conditions, "eager": eager, "exported": exported}))


def makers(peer: Path) -> dict[str, Callable[[], Any]]:
    """Architecture -> function that makes the peer's network. Only its network files are imported, not its trainer."""
    root = peer / "ppcls" / "arch" / "backbone"
    if not root.is_dir():
        sys.exit(f"{peer}: no PaddleClas checkout (no ppcls/arch/backbone); give the folder that holds ppcls")
    for name in PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(peer.joinpath(*name.split(".")))]
        sys.modules[name] = package
    sys.modules["ppcls.utils.logger"] = logging  # the peer's own wants its trainer's set-up,
    sys.modules["ppcls.utils.download"] = download = types.ModuleType("download")  # its downloads more packages
    vars(download)["get_weights_path_from_url"] = None
    found: dict[str, str] = {}
    for file in sorted([*root.glob("legendary_models/*.py"), *root.glob("model_zoo/*.py")], reverse=True):
        for name in re.findall(r"^def (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = f"ppcls.arch.backbone.{file.parent.name}.{file.stem}"

    def make(name: str) -> Any:
        with paddle.utils.unique_name.guard():  # the peer names parameters by hand, alike in several networks
            return getattr(importlib.import_module(found[name]), name)()

    names = {arch: OTHER_NAMES.get(arch, arch) for arch in models.names()}
    return {arch: partial(make, name) for arch, name in names.items() if name in found}


def eager_call(model: Any, images: np.ndarray) -> Call:
    model.eval()
    tensor = paddle.to_tensor(images)

    def call() -> object:
        with paddle.no_grad():
            return model(tensor)

    return call


def exported_call(model: Any, images: np.ndarray) -> Call:
    with tempfile.TemporaryDirectory() as folder:
        save_program(model, Path(folder), images.shape[-1])
        run = ready("paddle", threads=1).load(Path(folder))
    return lambda: run(images)


def ratio(ours: Call, peer: Call, seconds: float) -> float:
    """CPU seconds of ours over the peer's, the 20th percentile of each; calls take turns, two of each unmeasured."""
    taken: tuple[list[float], list[float]] = ([], [])
    for call in (ours, peer, ours, peer):
        call()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken[0]) < 5:
        for call, times in zip((ours, peer), taken, strict=True):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    return round(float(np.quantile(taken[0], 0.2) / np.quantile(taken[1], 0.2)), 3)


if __name__ == "__main__":
    main()
