"""A place with the smallest recipe that has every phase: mining, training, label filling, export, bench and report.

Its images are digits, its networks have some hundred parameters, and a run takes seconds.
"""

import json
import shutil
from pathlib import Path

from PIL import Image

from tests.campaign.commands import call, ssld
from tests.unit.mine_place import png, write_tar
from tests.unit.own_recipe import write_code
from tests.unit.some_recipe import changed, written

WHOLE = {
    "classes": 10,
    "student": {"code": "nets.py:Tiny"},
    "teacher": {"code": "nets.py:Plain", "stage": "teach", "norm": "running", "gate": 0},
    "baseline": "plain",
    "prepare": {
        "pool": {"sources": ["pool_a.tar", "pool_b.tar", "pool_c.tar"], "teacher": "card.yaml",
                 "weights": "weights/teacher.safetensors", "against": "digits/val.txt", "k": 4, "gate": 0}
    },
    "stage": {
        "data": {"train": ["digits/train.txt"], "val": "digits/val.txt", "size": 16, "batch": 8, "eval_batch": 20,
                 "threads": 1},
        "optim": {"lr": 0.05, "ema": 0.9},
        "eval_every": 1,
        "checkpoint_minutes": 0.0005,  # some steps are lost by a kill, some not
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "loss": {"ce": {}}},
        "plain": {"epochs": 3, "loss": {"ce": {}}},
        "distill": {
            "epochs": 4,
            "loss": {"ssld": {}},
            "data": {"train": ["digits/train.txt", "pool/mined.txt"]},
            "labels": {"views": 3, "k": 5},
        },
        "fix": {"init": "distill", "epochs": 2, "loss": {"ssld": {}}, "train": "head"},
    },
    "export": {"formats": ["paddle"], "gate_images": 4},
    "bench": {"engines": ["paddle"], "repeats": 1, "warmup": 1, "seconds": 0.01},
}  # fmt: skip
MINES = "MobileNetV3_small_x0_35"  # the teacher that mines is of the zoo
OTHER = "other"  # folder of a place: another run, of another seed, with its own cache and mining
QUIET = ["--wandb", "disabled", "--device", "cpu"]
PARTS = {"train": 48, "val": 20, "a": 16, "b": 16, "c": 16}


def make_place(place: Path) -> None:
    """Make a folder with the recipe, its code, images and mining teacher, and the undisturbed run `runs/whole`."""
    place.mkdir(parents=True)
    write_code(place)
    _write_images(place / "data")
    # A mining knows its sources by their whole paths: copies of the place mine the images of the place itself.
    pools = [str(place / "data" / name) for name in WHOLE["prepare"]["pool"]["sources"]]
    written(place, changed(WHOLE, "prepare.pool.sources", pools), "whole.yaml")
    done = call(_write_teacher, (), place, None).wait()
    assert done.code == 0, done.errors
    done = ssld(*run_words("whole.yaml", "runs/whole"), place=place)
    assert done.code == 0, done.errors


def _write_teacher() -> None:
    """Write a card and its weights, which are fresh ones."""
    from ssld import models, weights

    network = models.create(MINES, num_classes=10, in_size=32)
    params, macs = models.count(network, 32)
    given = {"size": 32, "resize": 36, "mean": [0.5] * 3, "std": [0.5] * 3}
    card = {"arch": MINES, "top1": 90.0, "source": "a test", "params": params, "macs": macs, "input": given}
    card["weights"] = {"url": "https://example.org/none", "path": "teacher.safetensors"}
    written(Path(), card, "card.yaml")
    Path("weights").mkdir()
    shown = {"input": json.dumps(given)}
    weights.save(network, Path("weights/teacher.safetensors"), digest="a test", beside=shown)


def run_words(recipe: str, out: str) -> list[str]:
    return ["run", recipe, *QUIET, "--out", out]


def fresh_copy(place: Path, to: Path) -> Path:
    """Copy what a run of `whole.yaml` begins with."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(place, to, ignore=shutil.ignore_patterns("runs", "pool", "labels", OTHER))
    return to


def _write_images(data: Path) -> None:
    from ssld.data.digits import load

    pixels, labels = load()
    (data / "digits").mkdir(parents=True)
    first = 0
    for part, count in PARTS.items():
        names = {f"{number:04d}.png": number for number in range(first, first + count)}
        images = {name: png(Image.fromarray(pixels[number]).resize((24, 24))) for name, number in names.items()}
        first += count
        if len(part) == 1:
            write_tar(data / f"pool_{part}.tar", images)
        else:
            for name, image in images.items():
                (data / "digits" / name).write_bytes(image)
            (data / "digits" / f"{part}.txt").write_text("".join(f"{name} {labels[n]}\n" for name, n in names.items()))


def weights_of(run: Path) -> dict[str, str]:
    """Return the sha256 of the weights of every stage of a run."""
    from ssld.files import sha256

    return {file.parent.name: sha256(file) for file in sorted(run.glob("stages/*/model.safetensors"))}


def curve_of(run: Path) -> list[dict[str, object]]:
    """Return the lines of metrics.jsonl without the speed, stage by stage: a stage that is made anew writes last."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines.sort(key=lambda line: str(line.get("stage")))
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]
