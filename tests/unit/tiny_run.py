"""A place of a user with two finished runs of some seconds: every kind of file that a run leaves is in it."""

import shutil
from pathlib import Path

from ssld.data import fake
from ssld.plans import load_plan
from ssld.run import run_plan
from ssld.runtime import Runtime
from ssld.track import Options
from tests.unit.own_recipe import write_code
from tests.unit.some_recipe import written

HERE = Runtime(rank=0, world=1, gpu=None)
QUIET = Options(wandb="disabled")
STAGE = {
    "data": {
        "train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 16, "batch": 8, "eval_batch": 8, "threads": 1
    },
    "optim": {"lr": 0.05},
    "epochs": 1,
}  # fmt: skip
TREE = {
    "classes": 4,
    "code": ["losses.py"],
    "student": {"code": "nets.py:Tiny"},
    "teacher": {"code": "nets.py:Large", "stage": "teach", "norm": "running"},
    "baseline": "plain",
    "stage": STAGE,
    "stages": {
        "teach": {"network": "teacher", "loss": {"ce": {}}},
        "plain": {"loss": {"labelled": {}}},
        "distill": {"loss": {"kl": {}}, "labels": {"views": 1, "k": 4}},
        "tune": {"init": "distill", "loss": {"ce": {}}},
    },
    "export": {"formats": ["paddle"], "gate_images": 8},
    "bench": {"engines": ["paddle"], "repeats": 1, "warmup": 1, "seconds": 0.01},
}  # fmt: skip


def make_place(place: Path) -> Path:
    """Make a folder with a recipe, its code, its images, the run `runs/one`, and `others/two` of another seed.

    The current folder must be `place`, and $SSLD_DATA `data`.
    """
    write_code(place)
    fake(Path("data/d"), 4, train=24, val=8, unlabelled=8, size=20)
    written(place, TREE)
    run_plan(plan_of(), Path("runs/one"), HERE, QUIET)
    run_plan(plan_of("seed=1"), Path("others/two"), HERE, QUIET)
    return place


def plan_of(*overrides: str):
    return load_plan("some.yaml", list(overrides))


def copy_place(place: Path, to: Path) -> Path:
    shutil.copytree(place, to, dirs_exist_ok=True, symlinks=True)
    return to
