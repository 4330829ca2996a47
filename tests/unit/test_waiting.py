"""A training that waits for its images most of the time says so, once, and names how large they are."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ssld.config.recipe import Augment
from ssld.data import Loader, from_arrays, read_list
from ssld.distill import waiting
from ssld.distill.waiting import Waiting
from ssld.runtime import Runtime


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    return now


def job(gpu=None, rank=0):
    train = SimpleNamespace(read_so_far=lambda: "2 million pixels in the mean")
    stage = SimpleNamespace(data=SimpleNamespace(size=48, threads=2))
    return SimpleNamespace(name="teach", stage=stage, train=train, runtime=Runtime(rank=rank, world=2, gpu=gpu))


def trained(clock, *, loading, computing, steps, other=0.0, **of_job):
    """Run the steps of a training on the clock; a batch takes `loading` seconds, a step `computing`."""

    def loader():
        for number in range(steps):
            clock[0] += loading if number else 100.0  # before the first one DALI is built
            yield {"step": number}

    watch = Waiting(job(**of_job))
    for _ in watch.batches(loader()):
        clock[0] += computing
        with watch.paused():
            clock[0] += other
        watch.tell()


@pytest.mark.parametrize(("cores", "more"), [(2, ""), (8, ", or raise stages.teach.data.threads from 2 up to 8")])
def test_a_training_that_waits_for_its_images_says_so_once(clock, capsys, monkeypatch, cores, more):
    monkeypatch.setattr(waiting, "cores", lambda: cores)
    trained(clock, loading=0.8, computing=0.2, steps=100, other=5.0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("stage teach: 7")  # of the first steps less: the first batch does not count
    why = "% of the time is waiting for images (2 million pixels in the mean)"
    assert line.endswith(f"{why}; store the images smaller, crops have 48 px{more}")


@pytest.mark.parametrize(
    "times",
    [
        {"loading": 0.3, "computing": 0.7, "steps": 100},
        {"loading": 0.8, "computing": 0.2, "steps": 5},
        {"loading": 0.8, "computing": 0.2, "steps": 100, "gpu": 0},
        {"loading": 0.8, "computing": 0.2, "steps": 100, "rank": 1},
    ],
    ids=["computes", "short", "on a GPU", "another rank"],
)
def test_other_trainings_say_nothing(clock, capsys, times):
    trained(clock, **times)
    assert capsys.readouterr().err == ""


def test_a_loader_says_how_large_the_images_are_that_it_read(tmp_path):
    sizes = [(30, 20), (300, 200), (40, 50), (10, 10)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number, 9, 9)).save(tmp_path / f"{number}.png")
    (tmp_path / "list.txt").write_text("".join(f"{number}.png 0\n" for number in range(4)))
    look = {"size": 8, "augment": Augment(), "mean": (0.5,) * 3, "std": (0.5,) * 3, "seed": 0}
    loader = Loader(read_list(tmp_path / "list.txt", tmp_path), batch=4, **look)
    assert loader.read_so_far() == "none was read yet"
    assert len([*loader.batches(0, 1)]) == 1
    mean = sum(width * height for width, height in sizes) / 4e6
    assert loader.read_so_far() == f"{mean:.2g} million pixels in the mean, {tmp_path}/1.png has 300 x 200"
    arrays = Loader(from_arrays(np.zeros((4, 9, 7, 3), np.uint8), [0] * 4, classes=1), batch=4, **look)
    [*arrays.batches(0, 1)]
    assert arrays.read_so_far().endswith("has 7 x 9")
