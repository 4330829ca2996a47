"""Define the command line of `ssld`: what each command takes.

The destinations of a command's arguments are the parameters of its function in `ssld/commands/`; defaults stand in this
module alone. It imports nothing that is slow to import.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ssld import __version__
from ssld.spec.choices import ASSIGNS, DEVICES, SPANS, WANDB_MODES
from ssld.spec.formats import FORMATS, PRECISIONS
from ssld.spec.ranges import (
    Batch,
    Budget,
    Count,
    CountOrNone,
    Decay,
    Jobs,
    Opset,
    Pixels,
    Ranks,
    Rate,
    Seed,
    Share,
    Slice,
    Threads,
    Trials,
    of_text,
)
from ssld.spec.revisions import FLAVOURS, REVISIONS


class Parser(argparse.ArgumentParser):
    """Refuse a wrong command line with one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ssld: {message}\n")


class Command(NamedTuple):
    """Hold what `ssld --help` says of a command, and the function that adds its arguments to a parser."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


def parser() -> Parser:
    """Make the parser of all COMMANDS. The name of the command is in `command`."""
    root = Parser(
        prog="ssld", description="Knowledge distillation on PaddlePaddle: a recipe in, a measured student out."
    )
    root.add_argument("--version", action="version", version=f"ssld {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = subparsers.add_parser(name, help=command.summary, description=command.summary)
        command.add_arguments(added)
        added.add_argument("--json", action="store_true", help="Print the result as JSON on standard output.")
        added.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    return root


def _number(kind: Any) -> Callable[[str], Any]:
    """Return the function that reads an option as a number of a type of `spec.ranges`."""

    def read(text: str) -> Any:
        try:
            return of_text(kind, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _number_or(word: str, kind: Any) -> Callable[[str], str]:
    """Return the function that checks an option which is such a number or this word. Its text stays as it is."""

    def read(text: str) -> str:
        try:
            return text if text == word else str(of_text(kind, text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}; {word} is allowed too") from None

    return read


# --- these functions add arguments that several commands take


def _recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="A recipe file, or the name of a recipe (see `ssld list recipes`).")


def _overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument("overrides", nargs="*", metavar="key.path=value", help="Change a key of the recipe.")


def _changed_recipe(command: argparse.ArgumentParser) -> None:
    _overrides(command)
    command.add_argument("--smoke", action="store_true", help="Try the whole recipe in seconds, on fake images.")


def _device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", default="auto", choices=DEVICES, help="Where networks compute (default auto: on a GPU, if any)."
    )  # fmt: skip


def _wandb(command: argparse.ArgumentParser, mode: str) -> None:
    command.add_argument(
        "--wandb", default=mode, choices=WANDB_MODES,
        help=f"What Weights & Biases gets: files in the run folder (offline), the same sent too (online), or nothing "
        f"(disabled). The default is {mode}.",
    )  # fmt: skip
    command.add_argument(
        "--wandb-project", metavar="NAME", default=os.environ.get("WANDB_PROJECT") or "ssld",
        help="The W&B project (default $WANDB_PROJECT, else ssld).",
    )  # fmt: skip
    command.add_argument("--wandb-tags", type=_tags, default=(), metavar="A,B", help="Give the W&B run these tags too.")


def _tags(text: str) -> tuple[str, ...]:
    """Turn `a,b` into ("a", "b")."""
    return tuple(filter(None, text.split(",")))


def _jobs(command: argparse.ArgumentParser, what: str, default: int) -> None:
    command.add_argument(
        "--jobs", type=_number(Jobs), default=default, metavar="N",
        help=f"How many {what} go on side by side, each with its share of the cores (default {default}).",
    )  # fmt: skip


def _running(command: argparse.ArgumentParser) -> None:
    """Add what changes no number of a run: where it runs, and who is told (docs/tracking.md)."""
    command.add_argument(
        "--ranks",
        type=_number_or("auto", Ranks),
        default="1",
        help="How many processes share each batch: a number, or auto for one a GPU (default 1).",
    )
    _device(command)
    _wandb(command, "offline")
    command.add_argument("--tensorboard", action="store_true", help="Write event files for TensorBoard too.")


def _seeds(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seeds",
        type=_number(Trials),
        default=1,
        help="Run this many seeds, one after the other, and compare them (default 1).",
    )


def _fetching(command: argparse.ArgumentParser, when: str) -> None:
    command.add_argument(
        "--flavour", choices=FLAVOURS,
        help=f"{when}: the naming scheme of the parameters in the file (default: the newest one that was published).",
    )  # fmt: skip
    command.add_argument(
        "--mirror", help=f"{when}: take the file from this folder or base address (default $SSLD_MIRROR)."
    )
    command.add_argument(
        "--offline", action="store_true", help=f"{when}: use no network (SSLD_OFFLINE=1 says the same)."
    )


RUN_OR_MODEL = "The folder of a finished run; with --weights the name of a model (see `ssld list models`)."
LABELLED = "A list file of labelled images, or the folder that it lists, in the current folder or in the data folder"

# --- each of these functions adds the arguments of one command


def _run_arguments(command: argparse.ArgumentParser) -> None:
    _recipe(command)
    _changed_recipe(command)
    command.add_argument(
        "--out", help="The run folder (default runs/<recipe>-<digest>); with --seeds the folder of the run folders."
    )
    _running(command)
    command.add_argument(
        "--reuse", action="store_true",
        help="Use finished stages of this recipe even where code, images or weights that made them have changed.",
    )  # fmt: skip
    command.add_argument(
        "--fresh",
        action="store_true",
        help="Train every stage anew; finished ones are put aside. Such a run that was stopped is resumed by the same "
        "command.",
    )
    _seeds(command)
    command.add_argument(
        "--experiments", default="experiments", help="Where --seeds records its results (default experiments)."
    )


def _sweep_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file",
        metavar="FILE",
        help="A sweep file (docs/tracking.md says how to write one), or a name in recipes/sweeps.",
    )
    command.add_argument(
        "--local", action="store_true", help="Run the sweep here, one trial after the other, without an account."
    )
    command.add_argument(
        "--count", type=_number(Trials), help="The number of trials (the method random needs it together with --local)."
    )
    command.add_argument(
        "--seed", type=_number(Seed), default=0, help="The seed of the values that the method random draws (default 0)."
    )
    _jobs(command, "trials with --local", 1)
    command.add_argument("--smoke", action="store_true", help="Try every trial in seconds, on fake images.")
    command.add_argument("--out", help="The folder of the trials' run folders, or of the file for W&B (default runs).")
    command.add_argument(
        "--experiments", default="experiments", help="Where --local records its results (default experiments)."
    )
    _running(command)


def _tune_arguments(command: argparse.ArgumentParser) -> None:
    _recipe(command)
    _changed_recipe(command)
    command.add_argument("--term", required=True, metavar="NAME", help="The term of the block `loss` of a stage.")
    command.add_argument("--stage", metavar="NAME", help="The stage, where several have a term of this name.")
    command.add_argument(
        "--option", action="append", default=[], metavar="NAME",
        help="An option of the loss that is searched too, beside weight and temperature; it may be repeated.",
    )  # fmt: skip
    command.add_argument(
        "--budget", type=_number(Budget), default=8, metavar="N",
        help="The number of trials, the first of which has the recipe's own values (default 8).",
    )  # fmt: skip
    command.add_argument(
        "--held-out", type=_number(Slice), default=0.2, metavar="SHARE",
        help="The share of the labelled training images of each class that no trial is trained with, and on which they "
        "are compared (default 0.2). The validation images are not looked at.",
    )  # fmt: skip
    command.add_argument(
        "--seed", type=_number(Seed), default=0, help="The seed of the choice of the held-out images (default 0)."
    )
    _jobs(command, "trials", 1)
    command.add_argument(
        "--out", help="The folder of the lists, the runs and the table (default runs/<recipe>-<term>-tune-<digest>)."
    )
    _running(command)


def _grid_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", metavar="FILE", help="A grid file (docs/grids.md says how to write one), or a name in recipes/grids."
    )
    command.add_argument("--smoke", action="store_true", help="Try every run in seconds, on fake images.")
    command.add_argument(
        "--tuned", action="store_true",
        help="Search the values of every method on training images that are held out, and run it with the best ones.",
    )  # fmt: skip
    _jobs(command, "runs", 2)
    command.add_argument(
        "--only", nargs="+", default=(), metavar="METHOD", help="Run these methods of the grid alone.",
    )  # fmt: skip
    command.add_argument("--out", help="The folder of the recipes, the runs and their logs (default runs/grid-<name>).")
    command.add_argument(
        "--experiments",
        default="experiments",
        help="The folder in whose `grids` the results are (default experiments).",
    )
    _running(command)


def _label_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="A recipe that asks for label caches (stages.<name>.labels).")
    _changed_recipe(command)
    command.add_argument("--out", help="The run folder (default runs/<recipe>-<digest>).")
    _device(command)
    command.add_argument(
        "--verify", nargs="?", type=_number(CountOrNone), const=1000, default=0, metavar="N",
        help="Compare N labels of each cache with the teacher (1000 when no number is given).",
    )  # fmt: skip
    _wandb(command, "disabled")


def _list_arguments(command: argparse.ArgumentParser) -> None:
    lists = "models, teachers, students, losses, methods, recipes or engines"
    command.add_argument("what", help=f"Which list to print: {lists}.")


def _show_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="The name of a recipe, model, teacher, student, method or engine.")
    command.add_argument(
        "overrides", nargs="*", metavar="[RECIPE] key.path=value",
        help="Of a method: a recipe, whose stages show what it reads and costs. Change a key of the recipe.",
    )  # fmt: skip
    command.add_argument("--smoke", action="store_true", help="Show the recipe as --smoke runs it, on fake images.")


def _plan_arguments(command: argparse.ArgumentParser) -> None:
    _recipe(command)
    _overrides(command)
    command.add_argument(
        "--cards",
        type=_number(Ranks),
        default=1,
        metavar="N",
        help="How many GPUs, or processes, share each batch (default 1).",
    )
    command.add_argument(
        "--per-card",
        type=_number(Batch),
        metavar="IMAGES",
        help="The largest number of images that fit on a card at a time.",
    )
    command.add_argument(
        "--rate", type=_number_or("measured", Rate), default="measured", metavar="IMAGES",
        help="How many images a second a card takes in the longest stage (default: this machine is measured).",
    )  # fmt: skip
    command.add_argument(
        "--device", default="auto", choices=DEVICES, help="Which device is measured (default auto: a GPU, if any)."
    )  # fmt: skip


def _eval_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", help=RUN_OR_MODEL)
    command.add_argument("--weights", help="A file of weights of that model, in any format that `ssld` reads.")
    command.add_argument("--data", help=f"{LABELLED} (default: that of the recipe; of a model imagenet/val_list.txt).")
    _device(command)


def _reproduce_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="The name of a published training (see `ssld list models`).")
    way = command.add_mutually_exclusive_group()
    way.add_argument(
        "--weights",
        default="published",
        metavar="FILE",
        help="Evaluate this file (default: the one that the card names).",
    )
    way.add_argument("--train", action="store_true", help="Run the recipe that the card names.")
    command.add_argument("--data", help=f"{LABELLED} (default imagenet/val_list.txt).")
    _fetching(command, "Published weights")
    _changed_recipe(command)
    command.add_argument("--out", help="With --train: the folder of the run folders (default runs).")
    _running(command)
    _seeds(command)
    command.add_argument(
        "--experiments", default="experiments", help="The folder of the recorded results (default experiments)."
    )


def _compare_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "a", metavar="A",
        help="A recipe with recorded results, a run folder, a folder of run folders, or a file of experiments/. Where "
        "it has several plans or stages, @DIGEST names a plan and :STAGE a stage.",
    )  # fmt: skip
    command.add_argument("b", metavar="B", help="What A is compared with, in the same form.")
    command.add_argument(
        "--metric", default="top1",
        help="A number of a result or of a stage, such as top5, loss or agreement.kl (default top1).",
    )  # fmt: skip
    command.add_argument(
        "--experiments", default="experiments", help="The folder of the recorded results (default experiments)."
    )


def _export_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of an export.

    What is not given is as the run's recipe has it, for a model as a recipe's default.
    """
    command.add_argument("target", help=RUN_OR_MODEL)
    command.add_argument(
        "--weights", metavar="FILE", help="A file of weights of that model, in any format that `ssld` reads."
    )
    command.add_argument(
        "--data", help=f"Of a model: {LABELLED[0].lower()}{LABELLED[1:]} (default imagenet/val_list.txt)."
    )
    command.add_argument("--out", help="The target folder (default RUN/export; of a model exports/MODEL).")
    command.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        help="The formats to write (default: those of the recipe, paddle and onnx).",
    )
    command.add_argument("--opset", type=_number(Opset), help="The opset of the ONNX file, 9 to 21 (default 17).")
    on_off = argparse.BooleanOptionalAction
    command.add_argument("--with-preprocess", action=on_off, help="Take images as uint8 NHWC and return probabilities.")
    command.add_argument("--with-softmax", action=on_off, help="Return probabilities instead of logits.")
    command.add_argument(
        "--dynamic-batch", action=on_off, help="Take any batch size (the default), or one image a call."
    )
    command.add_argument("--precision", choices=PRECISIONS, help="The precision of a TensorRT plan (default fp32).")
    command.add_argument(
        "--gate", nargs="+", metavar="KEY=VALUE",
        help="Change thresholds of the gate: a KEY is the part after gate_ of a key in the recipe's block `export`.",
    )  # fmt: skip


def _bench_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", nargs="*", help="Run folders, exported folders or names of models.")
    command.add_argument(
        "--all-students",
        action="store_true",
        help="Measure every architecture of students/ with a published training, one after the other.",
    )
    command.add_argument(
        "--engine", nargs="+", default=["paddle", "onednn", "onnxruntime"],
        help="The inference engines (see `ssld list engines`; default paddle onednn onnxruntime).",
    )  # fmt: skip
    command.add_argument(
        "--precision", nargs="+", default=["fp32"], choices=PRECISIONS, help="The precisions (default fp32)."
    )
    command.add_argument("--batch-size", nargs="+", type=_number(Batch), default=[1], help="Images a call (default 1).")
    command.add_argument(
        "--image-size", nargs="+", type=_number(Pixels),
        help="The side of an image in pixels (default: what each network was exported for; 224 for a model).",
    )  # fmt: skip
    command.add_argument(
        "--threads", nargs="+", type=_number(Threads), default=[1], help="Threads that compute one call (default 1)."
    )
    command.add_argument(
        "--span", nargs="+", default=list(SPANS), choices=SPANS,
        help="What is timed: the network alone, or the way from image files to answers (default: both, in rows "
        "of their own).",
    )  # fmt: skip
    command.add_argument(
        "--images", metavar="LIST", help="The list file of the images of end-to-end (default: drawn images)."
    )
    command.add_argument(
        "--warmup", type=_number(CountOrNone), default=10, help="Calls before the first that counts (default 10)."
    )
    command.add_argument("--repeats", type=_number(Count), default=500, help="Calls that are timed (default 500).")
    command.add_argument(
        "--quick", action="store_true", help="Take at most 50 repeats or a second a row, and measure no peak memory."
    )
    command.add_argument(
        "--csv", help="Write the rows to this file too, and with the machine to a file of this name in .json."
    )


def _data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("prepare", "check"), help="Prepare a data set, or check a list file.")
    command.add_argument(
        "what",
        help="prepare: digits, fashion_mnist, fashion_pool, glyphs, cifar100, imagenet, imagenet_v2, imagenet_real, "
        "imagenet_a, imagenet_r, imagenet_sketch, imagenet_c, folder or unlabelled. check: a list file.",
    )
    command.add_argument("--source", help="prepare: the folder or file that the images come from.")
    command.add_argument(
        "--fonts", nargs="+", metavar="DIR", help="prepare glyphs: folders of font files, whose characters are drawn."
    )
    command.add_argument(
        "--out",
        help="prepare: the target folder (default <data folder>/<kind>). check: write the list of the images that can "
        "be read to this file.",
    )
    command.add_argument(
        "--val-share", type=_number(Decay), help="prepare folder: the share of each class that is kept for validation."
    )
    command.add_argument(
        "--allow-partial", action="store_true",
        help="prepare imagenet...: accept other numbers of images than the published ones.",
    )  # fmt: skip
    command.add_argument(
        "--imagenet", metavar="FOLDER", help="prepare imagenet_real, _a, _r, _sketch, _c: the folder of the prepared "
        "ImageNet (default <data folder>/imagenet).",
    )  # fmt: skip
    command.add_argument(
        "--ground-truth", help="prepare imagenet: the list of labels that belongs to a flat validation folder."
    )
    command.add_argument(
        "--labelled",
        type=_number(Count),
        help="prepare digits, fashion_mnist, cifar100: how many images of each class keep their label.",
    )
    command.add_argument("--seed", type=_number(Seed), help="prepare folder, glyphs: the seed of the split.")
    command.add_argument(
        "--class-list", metavar="FILE",
        help="prepare folder: a classes.txt whose order of the classes is taken, as of a training set.",
    )  # fmt: skip
    command.add_argument("--classes", type=_number(Count), help="check: every label must be below this number.")
    command.add_argument(
        "--root", help="check: the folder that the paths are relative to (default: that of the list file)."
    )
    command.add_argument(
        "--against", metavar="LIST", help="check: another list file, with which no image should be shared."
    )
    command.add_argument(
        "--background", metavar="COLOUR", default="white",
        help="check: the colour behind transparent pixels, as white or #rrggbb (default white).",
    )  # fmt: skip
    command.add_argument(
        "--threads", type=_number(Threads), default=2, help="check: how many threads decode images (default 2)."
    )


def _mine_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", nargs="+", help="Folders, list files or .tar files of images.")
    command.add_argument(
        "--teacher", required=True,
        help="The teacher: a card of teachers/, the path of a card, or a run folder, whose trained teacher is taken.",
    )  # fmt: skip
    command.add_argument("--weights", help="A weights file that is taken instead of the card's.")
    command.add_argument(
        "--against", required=True, metavar="LIST",
        help="The list file of the validation images: their near-duplicates are left out.",
    )  # fmt: skip
    command.add_argument("--k", type=_number(Count), required=True, help="How many images are chosen for each class.")
    command.add_argument(
        "--min-score", type=_number(Share), default=0.0, help="The smallest probability of a chosen image (default 0)."
    )
    command.add_argument(
        "--assign", default="best", choices=ASSIGNS,
        help="Whether an image serves its best class alone, or all classes from --min-score on (default best).",
    )  # fmt: skip
    command.add_argument("--out", required=True, help="The output folder.")
    command.add_argument(
        "--part",
        default="1/1",
        metavar="I/N",
        help="Score every N-th shard alone, from the I-th on (default 1/1: all).",
    )
    command.add_argument(
        "--engine",
        default="eager",
        help="What computes the scores: eager, or one of `ssld list engines` (default eager).",
    )
    command.add_argument(
        "--gate", type=_number(CountOrNone), default=2000,
        help="How many validation images check the teacher before it scores; 0 checks nothing (default 2000).",
    )  # fmt: skip
    command.add_argument(
        "--background", metavar="COLOUR",
        help="The colour behind transparent pixels, as white or #rrggbb (default: that of the teacher's input).",
    )  # fmt: skip
    command.add_argument(
        "--threads", type=_number(Threads), help="How many threads decode and compare images (default: one a core)."
    )
    _device(command)


def _weights_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "action", choices=("fetch", "import"), help="Fetch published weights, or import a weights file."
    )
    command.add_argument(
        "what", help="fetch: the name of a published training (see `ssld list models` and `ssld list teachers`). "
        "import: a weights file or folder.",
    )  # fmt: skip
    command.add_argument(
        "--out", help="fetch: the target folder (default: the weights folder). import: the safetensors file."
    )
    _fetching(command, "fetch")
    command.add_argument("--arch", help="import: the architecture that the weights belong to.")
    command.add_argument(
        "--revision", choices=REVISIONS, help="import: the revision of the network, needed where the keys fit both."
    )
    command.add_argument("--force", action="store_true", help="import: replace another file at the target.")


def _report_arguments(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "ssld report RUN | speed RUN ... | figures [--csv FILE ...] [--out FOLDER] | ledger [--check] [--out FOLDER] | "
        "ablation [--check] [--out FOLDER]"
    )
    command.add_argument(
        "what", nargs="+", metavar="RUN",
        help="The folder of a finished run; `speed` and run folders; `figures`; `ledger` for REPORT.md of "
        "experiments/; `ablation` for docs/what_moves_ssld.md beside that folder, `methods` for docs/which_method.md.",
    )  # fmt: skip
    command.add_argument(
        "--check",
        action="store_true",
        help="ledger, ablation, methods: only say, by exit code 1, whether the page is stale.",
    )
    command.add_argument(
        "--csv", nargs="+", default=[], metavar="FILE", help="speed, figures: more files of `ssld bench --csv`."
    )
    command.add_argument(
        "--out", metavar="FOLDER",
        help="The target folder (default speed or figures), for ledger, ablation and methods that of the recorded "
        "results (default experiments).",
    )  # fmt: skip


COMMANDS: dict[str, Command] = {
    "run": Command(
        "Run every stage of a recipe, then export, measure and report. The same command resumes.", _run_arguments
    ),
    "sweep": Command(
        "Run a recipe over a grid or random values of its keys: as a W&B sweep, or here without an account (--local).",
        _sweep_arguments,
    ),
    "tune": Command(
        "Find weight and temperature of a term of a recipe on training images that are held out. The same command "
        "resumes.",
        _tune_arguments,
    ),
    "grid": Command(
        "Run methods by pairs of networks by seeds, in which nothing but the method differs. The same command resumes.",
        _grid_arguments,
    ),
    "label": Command(
        "Make the soft-label caches of a recipe, mend damaged ones, or compare them with the teacher.", _label_arguments
    ),
    "list": Command("List what there is: models, networks, losses, methods, recipes or engines.", _list_arguments),
    "show": Command(
        "Print a recipe with every default filled in, or the facts of a model, teacher, method or engine.",
        _show_arguments,
    ),
    "plan": Command(
        "Print what a recipe will take: images, steps, how to split them among cards, storage and time.",
        _plan_arguments,
    ),
    "eval": Command(
        "Evaluate a finished run's student, or weights of a published model, on labelled images.", _eval_arguments
    ),
    "reproduce": Command(
        "Measure a published training here, by its weights or (--train) by its recipe. The result stands in "
        "experiments/REPORT.md.",
        _reproduce_arguments,
    ),
    "compare": Command(
        "Compare two recipes, or stages of recipes, over their seeds. No winner is declared inside the noise.",
        _compare_arguments,
    ),
    "export": Command(
        "Export a finished run's student, or weights of a model, through a gate that compares files and network.",
        _export_arguments,
    ),
    "bench": Command(
        "Measure the latency of a finished run, an exported folder or a model of the zoo.", _bench_arguments
    ),
    "data": Command(
        "Prepare a data set as image files and list files, or check the images of a list.", _data_arguments
    ),
    "mine": Command(
        "Choose unlabelled images for a distillation: the best k of each class, and no near-duplicate of a validation "
        "image.",
        _mine_arguments,
    ),
    "weights": Command(
        "Fetch the weights that a card names, or import published ones as safetensors.", _weights_arguments
    ),
    "report": Command(
        "Write the page of a run, the speed of teacher and student, the figures, or the pages of measured results.",
        _report_arguments,
    ),
}
