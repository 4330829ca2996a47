"""The command line of `ssld`: what each command takes."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from ssld import __version__
from ssld.spec.choices import ASSIGNS, DEVICES, SPANS, WANDB_MODES
from ssld.spec.formats import FORMATS, PRECISIONS
from ssld.spec.revisions import FLAVOURS, REVISIONS


class Parser(argparse.ArgumentParser):
    """A wrong command line is one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ssld: {message}\n")


def parser(functions: Sequence[Callable[..., object]]) -> Parser:
    """A command is a function: its name (an underscore at the end aside), its docstring, its row of ARGUMENTS."""
    root = Parser(
        prog="ssld", description="Knowledge distillation on PaddlePaddle: a recipe in, a measured student out."
    )
    root.add_argument("--version", action="version", version=f"ssld {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for function in functions:
        name = function.__name__.rstrip("_")
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        ARGUMENTS[name](command)
        command.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return root


def _recipe_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("overrides", nargs="*", metavar="key.path=value", help="change keys of the recipe")
    command.add_argument("--smoke", action="store_true", help="the whole recipe in seconds, on fake images")


def _wandb_arguments(command: argparse.ArgumentParser, mode: str) -> None:
    command.add_argument("--wandb", default=mode, choices=WANDB_MODES)
    command.add_argument(
        "--wandb-project", metavar="NAME", default=os.environ.get("WANDB_PROJECT") or "ssld",
        help="W&B project (default $WANDB_PROJECT, else ssld)",
    )  # fmt: skip
    command.add_argument("--wandb-tags", default="", metavar="A,B", help="more tags of the W&B run")


def _how_to_run(command: argparse.ArgumentParser) -> None:
    """What changes no number of a run: where it runs, and who is told (docs/tracking.md)."""
    command.add_argument("--ranks", default="1", help="processes that share each batch: a number, or auto = one a GPU")
    command.add_argument("--device", default="auto", choices=DEVICES)
    _wandb_arguments(command, "offline")
    command.add_argument("--tensorboard", action="store_true", help="also write event files for TensorBoard")


def _run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="a recipe file, or its name (`ssld list recipes`)")
    _recipe_arguments(command)
    command.add_argument(
        "--out", help="run folder (default runs/<recipe>-<digest>); with --seeds the folder of the run folders"
    )
    _running_arguments(command)
    command.add_argument("--experiments", default="experiments", help="where --seeds records its results")


def _running_arguments(command: argparse.ArgumentParser) -> None:
    _how_to_run(command)
    command.add_argument("--seeds", type=int, default=1, help="run so many seeds one after the other and compare them")


def _sweep_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="a sweep (docs/tracking.md), or its name in recipes/sweeps")
    command.add_argument("--local", action="store_true", help="run it here, one trial after the other, no account")
    command.add_argument("--count", type=int, help="number of trials (method random needs it with --local)")
    command.add_argument("--seed", type=int, default=0, help="of the values that method random draws")
    command.add_argument("--smoke", action="store_true", help="every trial in seconds, on fake images")
    command.add_argument("--out", help="folder of the trials' run folders, or of the file for W&B (default runs)")
    command.add_argument("--experiments", default="experiments", help="where --local records its results")
    _how_to_run(command)


def _label_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="a recipe that asks for label caches (stages.<name>.labels)")
    _recipe_arguments(command)
    command.add_argument("--out", help="run folder (default runs/<recipe>-<digest>)")
    command.add_argument("--device", default="auto", choices=DEVICES)
    command.add_argument(
        "--verify", nargs="?", type=int, const=1000, default=0, metavar="N", help="compare N labels with the teacher"
    )
    _wandb_arguments(command, "disabled")


def _show_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="a recipe, model, teacher, student, loss or engine")
    _recipe_arguments(command)


def _plan_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="a recipe file, or its name (`ssld list recipes`)")
    command.add_argument("overrides", nargs="*", metavar="key.path=value", help="change keys of the recipe")
    command.add_argument("--cards", type=int, default=1, metavar="N", help="GPUs, or processes, that share each batch")
    command.add_argument("--per-card", type=int, metavar="IMAGES", help="most images that fit on a card at a time")
    command.add_argument(
        "--rate", default="measured", metavar="IMAGES", help="images a second a card, instead of measuring this machine"
    )
    command.add_argument("--device", default="auto", choices=DEVICES, help="that is measured")


def _eval_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", help="folder of a finished run; with --weights a model (`ssld list models`)")
    command.add_argument("--weights", help="file of weights of that model, in any format that is read here")
    command.add_argument(
        "--data", help="list file of labelled images, or its folder (default: the recipe's; imagenet/val_list.txt)"
    )
    command.add_argument("--device", default="auto", choices=DEVICES)


def _export_arguments(command: argparse.ArgumentParser) -> None:
    """What is not given is as the run's recipe has it, for a model as a recipe's default."""
    command.add_argument("target", help="folder of a finished run; with --weights a model (`ssld list models`)")
    command.add_argument("--weights", metavar="FILE", help="file of weights of that model, in any format read here")
    command.add_argument("--data", help="model: list of labelled images for the gate (default imagenet/val_list.txt)")
    command.add_argument("--out", help="target folder (default RUN/export, of a model exports/MODEL)")
    command.add_argument("--format", nargs="+", choices=FORMATS, help="what is written (default paddle onnx)")
    command.add_argument("--opset", type=int, help="ONNX opset, 9 to 21 (default 17)")
    on_off = argparse.BooleanOptionalAction
    command.add_argument("--with-preprocess", action=on_off, help="uint8 NHWC images in, probabilities out")
    command.add_argument("--with-softmax", action=on_off, help="probabilities out")
    command.add_argument("--dynamic-batch", action=on_off, help="any batch (default), or one image a call")
    command.add_argument("--precision", choices=PRECISIONS, help="of a TensorRT plan (default fp32)")
    command.add_argument(
        "--gate", nargs="+", metavar="KEY=VALUE", help="thresholds: keys of the recipe's block `export` after gate_"
    )


def _bench_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", nargs="*", help="run folders, exported folders or model names")
    command.add_argument("--all-students", action="store_true", help="every architecture of students/, one by one")
    command.add_argument("--engine", nargs="+", default=["paddle", "onednn", "onnxruntime"])
    command.add_argument("--precision", nargs="+", default=["fp32"], choices=PRECISIONS)
    command.add_argument("--batch-size", nargs="+", type=int, default=[1])
    command.add_argument(
        "--image-size", nargs="+", type=int, help="pixels (default: what each was exported for; 224 for a model)"
    )
    command.add_argument("--threads", nargs="+", type=int, default=[1])
    command.add_argument(
        "--span", nargs="+", default=list(SPANS), choices=SPANS,
        help="the network alone, and from image files to answers (default: both, in rows of their own)",
    )  # fmt: skip
    command.add_argument("--images", metavar="LIST", help="list file of the images of end-to-end (default: drawn ones)")
    command.add_argument("--warmup", type=int, default=10)
    command.add_argument("--repeats", type=int, default=500)
    command.add_argument("--quick", action="store_true", help="at most 50 repeats or a second a row, no peak memory")
    command.add_argument("--csv", help="also write the rows to this file, and with the machine to one of .json")


def _data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("prepare", "check"))
    command.add_argument(
        "what",
        help="prepare: digits, fashion_mnist, fashion_pool, imagenet, imagenet_v2, imagenet_real, imagenet_a, "
        "imagenet_r, imagenet_sketch, imagenet_c, folder or unlabelled; check: a list file",
    )
    command.add_argument("--source", help="folder (or file) that the images come from")
    command.add_argument("--out", help="prepare: target folder (default: <data folder>/<kind>)")
    command.add_argument("--val-share", type=float, help="prepare folder: share of each class kept for validation")
    command.add_argument(
        "--allow-partial", action="store_true", help="prepare imagenet...: accept other counts than the published ones"
    )
    command.add_argument(
        "--imagenet", metavar="FOLDER", help="prepare imagenet_real, _a, _r, _sketch, _c: the prepared ImageNet "
        "(default: <data folder>/imagenet)",
    )  # fmt: skip
    command.add_argument("--ground-truth", help="prepare imagenet: list of labels of a flat validation folder")
    command.add_argument("--labelled", type=int, help="prepare digits, fashion_mnist: labelled images a class")
    command.add_argument("--seed", type=int, help="prepare folder: seed of the split")
    command.add_argument("--classes", type=int, help="check: labels must be below this number")
    command.add_argument("--root", help="check: folder that the paths are relative to (default: the list's own)")
    command.add_argument("--threads", type=int, default=2)


def _weights_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("fetch", "import"))
    command.add_argument(
        "what", help="fetch: a published training (`ssld list models`, `teachers`); import: a weights file or folder"
    )
    command.add_argument("--out", help="fetch: target folder (default: the weights folder); import: safetensors file")
    _fetch_arguments(command)
    command.add_argument("--arch", help="import: the architecture that the weights are of")
    command.add_argument("--revision", choices=REVISIONS, help="import: needed where the keys fit both")
    command.add_argument("--force", action="store_true", help="import: replace another file at the target")


def _fetch_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--flavour", choices=FLAVOURS, help="fetch: whose names the file has")
    command.add_argument("--mirror", help="fetch: folder or base address that holds the file (default $SSLD_MIRROR)")
    command.add_argument("--offline", action="store_true", help="fetch: use no network (also SSLD_OFFLINE=1)")


def _mine_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", nargs="+", help="folders, list files or .tar files of images")
    where = "a card of teachers/, or the path of one, or a run folder: the teacher that it trained"
    command.add_argument("--teacher", required=True, help=where)
    command.add_argument("--weights", help="weights file instead of the card's")
    command.add_argument("--against", required=True, metavar="LIST", help="list file of the validation images")
    command.add_argument("--k", type=int, required=True, help="images that are chosen a class")
    command.add_argument("--min-score", type=float, default=0.0, help="smallest probability of a chosen image")
    command.add_argument(
        "--assign",
        default="best",
        choices=ASSIGNS,
        help="an image serves its best class, or all from the score on",
    )
    command.add_argument("--out", required=True, help="output folder")
    command.add_argument("--part", default="1/1", metavar="I/N", help="only score every N-th shard from the I-th on")
    command.add_argument("--engine", default="eager", help="what computes the scores, see `ssld list engines`")
    command.add_argument("--gate", type=int, default=2000, help="validation images that check the teacher; 0 is off")
    command.add_argument("--threads", type=int, help="threads that decode and compare images (default: one a core)")
    command.add_argument("--device", default="auto", choices=DEVICES)


# What belongs to one road of `ssld reproduce` alone, as it is when it was not given.
OF_WEIGHTS = {"data": None, "flavour": None, "mirror": None, "offline": False}
OF_TRAINING: dict[str, object] = {"overrides": [], "smoke": False, "out": None, "ranks": "1", "seeds": 1}
OF_TRAINING |= {"wandb": "offline", "wandb_tags": "", "tensorboard": False}


def _reproduce_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="a published training (`ssld list models`)")
    road = command.add_mutually_exclusive_group()
    road.add_argument(
        "--weights", default="published", metavar="FILE", help="evaluate this file (default: published, from its card)"
    )
    road.add_argument("--train", action="store_true", help="run the recipe that its card names")
    command.add_argument("--data", help="list file of labelled images, or its folder (default: imagenet/val_list.txt)")
    _fetch_arguments(command)
    _recipe_arguments(command)
    command.add_argument("--out", help="--train: folder of the run folders (default runs)")
    _running_arguments(command)
    command.add_argument("--experiments", default="experiments", help="folder of the ledger (default experiments)")


def _compare_arguments(command: argparse.ArgumentParser) -> None:
    where = "a recipe with recorded results, a run folder or a folder of them, or a file of experiments/; then, where"
    command.add_argument("a", metavar="A", help=f"{where} it applies, @DIGEST of one of its plans and :STAGE")
    command.add_argument("b", metavar="B", help="the same of what A is compared with")
    command.add_argument(
        "--metric", default="top1", help="a number of a result or stage, e.g. top5, loss, agreement.kl"
    )
    command.add_argument("--experiments", default="experiments", help="folder of the recorded results")


def _report_arguments(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "ssld report RUN | speed RUN ... | figures [--csv FILE ...] [--out FOLDER] | ledger [--check] [--out FOLDER] | "
        "ablation [--check] [--out FOLDER]"
    )
    what = "folder of a finished run; `speed` and runs; `figures`; `ledger`: REPORT.md of experiments/; "
    what += "`ablation`: docs/what_moves_ssld.md beside it"
    command.add_argument("what", nargs="+", metavar="RUN", help=what)
    command.add_argument("--check", action="store_true", help="ledger, ablation: write nothing, exit code 1 when stale")
    command.add_argument(
        "--csv", nargs="+", default=[], metavar="FILE", help="speed, figures: more files of `ssld bench --csv`"
    )
    command.add_argument("--out", metavar="FOLDER", help="target folder (default: speed, figures or experiments)")


ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _run_arguments,
    "sweep": _sweep_arguments,
    "label": _label_arguments,
    "list": lambda command: (command.add_argument("what"), None)[1],
    "show": _show_arguments,
    "plan": _plan_arguments,
    "eval": _eval_arguments,
    "export": _export_arguments,
    "bench": _bench_arguments,
    "data": _data_arguments,
    "mine": _mine_arguments,
    "weights": _weights_arguments,
    "reproduce": _reproduce_arguments,
    "compare": _compare_arguments,
    "report": _report_arguments,
}
