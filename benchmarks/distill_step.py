"""A distillation step from JPEG files to new weights, by where the teacher's logits come from, and against PaddleClas.

    python benchmarks/distill_step.py [--peer PATH] [--teacher ResNet50_vd] [--student MobileNetV3_small_x1_0]
                                      [--size 224] [--batch 32] [--steps 4] [--rounds 3] [--only NAME ...]

`eager`: the teacher in eager Paddle. An engine of `ssld list engines`: the teacher in it, one batch ahead of the
student. `cache`: its logits, all of them, from a soft-label cache, which is filled before and timed beside;
`cache_ranks`: the same on one rank a core, which share the batch. `peer_0` and `peer_2`: PaddleClas (PATH is a
checkout, see _peer.py for what it needs) with its own trainer and DistillationModel, images prepared by its training
process or by 2 workers.

All start from the same weights, with the SSLD loss and momentum 0.01, on synthetic JPEG files of about 49 KB; before
the clock starts each says its loss on the same images, and one that differs by more than 1e-3 of it stops the
benchmark. The peer's teacher is in eval mode for that. Each is a process of its own on the same kernels (MKL's fast
path, OMP_NUM_THREADS = 1 unless it is set); they take turns, one works while the others wait. Wall time and CPU time
(of all threads and children) are medians over the rounds, the first one left out. Ends with one JSON line; ratios above
1 are faster than the base: the better of the peers, or without one `eager`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ssld  # before Paddle: it chooses MKL's fast path on AMD

os.environ.setdefault("GLOG_minloglevel", "2")

import _peer
import _turns
import numpy as np
import paddle
from data_pipeline import MEAN, STD, write_images

from ssld import labels, models, runtime
from ssld.config.recipe import Data
from ssld.data import Augment, FileList, Loader, Views
from ssld.deploy import usable
from ssld.distill.engine import in_engine
from ssld.distill.parallel import Ranks
from ssld.distill.step import Step
from ssld.distill.teacher import TeacherLogits
from ssld.losses import build_terms
from ssld.losses.objective import Objective

CLASSES = 1000
LARGEST_DIFFERENCE = 1e-3  # of two losses, relative
FIRST = "first.npy"  # images whose loss is compared, made before: a process with threads of DALI must not fork workers
SHARES = (1, 5, 20)  # epochs, students and seeds that one filling of the cache serves

Round = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="checkout of PaddleClas")
    parser.add_argument("--teacher", default="ResNet50_vd")
    parser.add_argument("--student", default="MobileNetV3_small_x1_0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the contenders (default: all that can run here)")
    parser.add_argument("--contender", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        name, folder = args.contender
        _turns.compete(Path(folder), lambda: ready(args, name, Path(folder)))
        return
    if args.peer:
        _peer.attach(args.peer)  # a wrong path is told now
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "images").mkdir()
        files = write_images(str(root / "images"), args.batch * args.steps)
        (root / "list.txt").write_text("".join(f"{path} 0\n" for path in files.paths), encoding="utf-8")
        filling = fill(args, root)
        with _turns.open_door(root) as door:
            team = [invite(name, args, root, door) for name in args.only or contenders(args)]
            compare_losses(team)
            found = _turns.take_turns(team, args.batch * args.steps, args.rounds)
    report(args, found, filling)


def contenders(args: argparse.Namespace) -> list[str]:
    engines = [name for name, why_not in usable().items() if why_not is None]
    several = ["cache_ranks"] if runtime.cores() > 1 and args.batch % runtime.cores() == 0 else []
    return ["eager", *engines, "cache", *several, *(["peer_0", "peer_2"] if args.peer else [])]


def invite(name: str, args: argparse.Namespace, root: Path, door: Any) -> _turns.Contender:
    options = ("teacher", "student", "size", "batch", "steps")
    words = [word for option in options for word in (f"--{option}", str(getattr(args, option)))]
    words += ["--peer", str(args.peer.resolve())] if args.peer else []
    return _turns.invite(name, __file__, words, root, door, runtime.cores() if name == "cache_ranks" else 1)


def compare_losses(team: list[_turns.Contender]) -> None:
    """Exit where a contender has another loss than the first one. Ranks share the batch: theirs differ."""
    losses = {one.name: statistics.mean(one.told) for one in team}
    first = next(iter(losses))
    for one in team:
        loss, wanted = losses[one.name], losses[first]
        print(f"{one.name:16} loss {loss:.6g}")
        if len(one.ranks) == 1 and abs(loss - wanted) > LARGEST_DIFFERENCE * abs(wanted):
            sys.exit(f"{one.name}: another loss than {first}; the comparison would mean nothing")


def report(args: argparse.Namespace, found: dict[str, dict[str, float]], filling: float) -> None:
    rates = {name: numbers["images_per_second"] for name, numbers in found.items()}
    peers = [name for name in found if name.startswith("peer")]
    base = max(peers, key=lambda name: rates[name]) if peers else next(iter(found))
    ratios: dict[str, float] = {}
    for name, numbers in found.items():
        ratios[f"wall/{name}"] = round(rates[name] / rates[base], 3)
        ratios[f"cpu/{name}"] = round(found[base]["cpu_ms"] / numbers["cpu_ms"], 3)
        print(f"{name:16} {rates[name]:8.1f} img/s   {numbers['cpu_ms']:8.2f} CPU-ms an image")
    for name in (name for name in found if name.startswith("cache")):
        for share in SHARES:  # an image is labelled once and trained on `share` times
            ratios[f"wall/{name}, filled for {share}"] = round(
                1 / (1 / rates[name] + 1 / (filling * share)) / rates[base], 3
            )
    print(f"{'filling':16} {filling:8.1f} img/s")
    given = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    del given["contender"], given["peer"]
    conditions = {"hardware": runtime.hardware(), "threads": os.environ["OMP_NUM_THREADS"], **given}
    versions = {"paddle": paddle.__version__, "ssld": ssld.__version__}
    print(json.dumps({"benchmark": "distill_step", **conditions, **versions, "base": base, "ratio": ratios}))


# --- a contender


def ready(args: argparse.Namespace, name: str, root: Path) -> tuple[float, Round]:
    """The loss of the first batch, and a round of training."""
    here = runtime.start("cpu")
    return peer(args, name, root) if name.startswith("peer") else ours(args, name, root, here)


def ours(args: argparse.Namespace, name: str, root: Path, here: runtime.Runtime) -> tuple[float, Round]:
    teacher, student = networks(args)
    images, objective = loader(args, root, here), Objective(build_terms({"ssld": {}}))
    if name.startswith("cache"):
        logits: Any = labels.CachedLogits(cache(args, root))
    else:
        logits = in_engine(teacher_logits(args, teacher), name, args.size, args.batch, here)
    ranks = Ranks(Step(student, objective), [p for p in student.parameters() if p.trainable], here, sync_bn=False)
    optimizer = paddle.optimizer.Momentum(0.01, parameters=student.parameters())

    def loss_of(batch: Any) -> Any:
        return ranks.forward(batch)[0][0]

    def work() -> None:
        for batch in logits.labelled(images.batches(0, args.steps)):
            loss_of(batch).backward()
            ranks.average()
            optimizer.step()
            optimizer.clear_grad()

    return float(loss_of(next(iter(logits.labelled(images.batches(0, 1)))))), work


def peer(args: argparse.Namespace, name: str, root: Path) -> tuple[float, Round]:
    _peer.attach(args.peer)
    shape = {"size": args.size, "batch": args.batch, "workers": int(name.partition("_")[2])}
    names = {"teacher": args.teacher, "student": args.student}
    engine = _peer.trainer(root / name, root / "list.txt", root / "images", **names, **shape)
    theirs = dict(zip(engine.model.model_name_list, engine.model.model_list, strict=True))
    for network, own in zip((theirs["Teacher"], theirs["Student"]), networks(args), strict=True):
        state, keys = own.state_dict(), models.keymap(own.arch)
        network.set_state_dict({published: state[key] for published, key in keys.items()})
        steady(network)
    engine.model.train()
    theirs["Teacher"].eval()
    loss = engine.train_loss_func(engine.model(paddle.to_tensor(np.load(root / FIRST))), None)["loss"]
    return float(loss), partial(engine.train_epoch_func, engine, 1, args.steps)


def networks(args: argparse.Namespace) -> tuple[Any, Any]:
    """Teacher and student, with the same fresh weights in every process.

    The peer adds 1e-12 to probabilities: logits are kept so small that none of them is near that.
    """
    made = []
    for arch in (args.teacher, args.student):
        runtime.seed_networks("benchmark", arch)
        made.append(steady(models.create(arch, num_classes=CLASSES)))
    teacher, student = made
    teacher.eval()
    with paddle.no_grad():  # fresh weights at fresh statistics: in a deep network they grow with every block
        largest = float(teacher(paddle.randn([4, 3, args.size, args.size])).abs().max())
    for network, factor in ((teacher, 4 / largest), (student, 0.1)):
        head = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.Linear)][-1]
        for parameter in (head.weight, head.bias):
            parameter.set_value(factor * parameter)
    return teacher, student


def steady(network: Any) -> Any:
    """Without dropout: its losses could not be compared."""
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    return network


def teacher_logits(args: argparse.Namespace, network: Any) -> TeacherLogits:
    return TeacherLogits(network, "running", Data(train=("t",), val="v", size=args.size), args.size, MEAN, STD)


def loader(args: argparse.Namespace, root: Path, here: runtime.Runtime) -> Loader:
    """One view of every image, on one thread of DALI."""
    names = (root / "list.txt").read_text(encoding="utf-8").split()[::2]
    files = FileList(names, np.zeros(len(names), dtype=np.int64), str(root / "images"))
    options: dict[str, Any] = {"size": args.size, "batch": args.batch, "mean": MEAN, "std": STD, "seed": 0}
    return Loader(files, augment=Augment(), views=Views(0, 1), rank=here.rank, world=here.world, **options)


def cache(args: argparse.Namespace, root: Path) -> labels.Cache:
    return labels.Cache(root / "labels", labels.Layout(CLASSES, CLASSES), 1, args.batch * args.steps, args.batch)


def fill(args: argparse.Namespace, root: Path) -> float:
    """Fill the cache of one view with ONNX Runtime where it is installed; images a second."""
    here = runtime.start("cpu")
    engine = "eager" if usable()["onnxruntime"] else "onnxruntime"
    logits = in_engine(teacher_logits(args, networks(args)[0]), engine, args.size, args.batch, here)
    kept, images = cache(args, root), loader(args, root, here)
    kept.folder.mkdir()
    np.save(root / FIRST, next(iter(images.batches(0, 1)))["image"].numpy())

    def say(view: int, numbers: list[int]) -> Iterator[np.ndarray]:
        return (batch["teacher"]["logits"].numpy() for batch in logits.labelled(images.of_view(view, numbers)))

    start = time.perf_counter()
    labels.fill(kept, lambda: say, here)
    return args.batch * args.steps / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
