"""Images that are held out: which they are, and which lists take the place of those of a recipe."""

import random
from pathlib import Path

import numpy as np
import pytest

from ssld.data.held_out import choose_held_out
from ssld.data.lists import read_list, write_list
from ssld.distill.held_out import hold_out
from ssld.distill.runs import Run
from ssld.errors import DataError
from ssld.plans import load_plan
from ssld.runtime import Runtime
from tests.unit.some_recipe import TREE, changed, written

ALONE = Runtime(rank=0, world=1, gpu=None)


def test_the_share_of_every_class_is_held_out_one_at_least_and_one_stays():
    labels = np.array([0] * 10 + [1] * 2 + [2] * 5 + [-1] * 4)
    digests = [f"image {number}" for number in range(len(labels))]
    for share, counts in ((0.2, (2, 1, 1)), (0.5, (5, 1, 2)), (0.99, (9, 1, 4)), (0.01, (1, 1, 1))):
        held = choose_held_out(labels, digests, share, 0)
        assert [*held] == sorted(held)
        assert tuple(np.bincount(labels[held], minlength=3)) == counts


def test_the_choice_follows_from_content_and_seed_and_not_from_the_order():
    labels = np.arange(60) % 3
    digests = [f"image {number}" for number in range(60)]
    chosen = {digests[position] for position in choose_held_out(labels, digests, 0.3, 7)}
    order = random.Random(0).sample(range(60), 60)
    shuffled = [digests[position] for position in order]
    again = {shuffled[position] for position in choose_held_out(labels[order], shuffled, 0.3, 7)}
    assert chosen == again
    assert len(chosen) == 18
    assert chosen != {digests[position] for position in choose_held_out(labels, digests, 0.3, 8)}


def test_of_equal_images_of_a_class_one_is_held_out():
    labels, digests = np.zeros(6, np.int64), ["a", "a", "a", "b", "b", "b"]
    held = choose_held_out(labels, digests, 0.5, 0)
    assert len(held) == 1


@pytest.mark.parametrize(
    ("labels", "digests", "said"),
    [
        ([0, 0, 1], "abc", "class 1 has one labelled image, and a slice needs one that is held out and one that stays"),
        ([0, 0], "aa", "class 0 has one labelled image"),
        ([-1, -1], "ab", "no training image has a label, so that none can be held out"),
    ],
)
def test_too_few_images_are_one_line(labels, digests, said):
    with pytest.raises(DataError, match=f"^{said}.*; give.* labelled images$"):
        choose_held_out(np.array(labels), [*digests], 0.2, 0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A recipe, and its lists: 20 labelled images of 2 classes, 8 unlabelled ones, of which two are the same files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLD_DATA", raising=False)
    folder = tmp_path / "data" / "d"
    (folder / "i").mkdir(parents=True)
    for number in range(26):
        (folder / "i" / f"{number}.png").write_bytes(b"image %03d" % number)
    for number in (0, 1):
        (folder / "i" / f"copy{number}.png").write_bytes(b"image %03d" % number)
    write_list(folder / "train.txt", [f"i/{number}.png" for number in range(20)], [number % 2 for number in range(20)])
    write_list(folder / "more.txt", [*(f"i/{number}.png" for number in range(20, 26)), "i/copy0.png", "i/copy1.png"])
    (folder / "classes.txt").write_text("even\nodd\n")
    written(tmp_path, changed(TREE, "classes", 2))
    return tmp_path


def held_of(place, share=0.2, seed=0, out="out/lists", stage="distill"):
    run = Run.of_plan(load_plan("some.yaml", []), place / "run", ALONE)
    return run.plan, hold_out(run, stage, Path(out), share, seed)


def contents(file):
    images = read_list(file, Path(file).parent)
    return [Path(images.path(index)).read_bytes() for index in range(len(images))]


def test_held_out_images_leave_every_training_list_and_take_the_place_of_the_validation_images(place):
    plan, held = held_of(place, share=0.9)  # 9 of 10 images of each class: one of the two with a copy is among them
    images = read_list(held.val, Path(held.val).parent)
    assert [*np.bincount(images.labels)] == [9, 9]
    assert (held.images, held.trained) == (18, 2)
    train, more = held.train["d/train.txt"], held.train["d/more.txt"]
    assert sorted(contents(train) + contents(held.val)) == [b"image %03d" % number for number in range(20)]
    assert not set(contents(more)) & set(contents(held.val))
    assert {b"image %03d" % number for number in range(20, 26)} <= set(contents(more))
    assert len(contents(more)) == 6 + len({b"image 000", b"image 001"} - set(contents(held.val)))
    assert (read_list(more, Path(more).parent).labels == -1).all()
    assert (Path(held.val).parent / "classes.txt").read_text() == "even\nodd\n"
    new = load_plan("some.yaml", held.overrides(plan))
    assert {stage.data.val for stage in new.stages.values()} == {held.val}
    assert new.stages["teach"].data.train == (train,)
    assert new.stages["distill"].data.train == (train, more)
    assert not (place / "data/d/val.txt").exists()


def test_a_trial_on_held_out_images_never_sees_the_test_images(place):
    written(place, changed(changed(TREE, "classes", 2), "stage.data.test", "d/test.txt"))
    plan, held = held_of(place)
    assert plan.test == "d/test.txt"
    assert {stage.data.test for stage in load_plan("some.yaml", held.overrides(plan)).stages.values()} == {None}


def test_the_same_images_give_the_same_lists_wherever_they_lie_and_in_whatever_order(place):
    _, first = held_of(place)
    before = {file.name: file.read_bytes() for file in (place / "out/lists").iterdir()}
    held_of(place)
    assert before == {file.name: file.read_bytes() for file in (place / "out/lists").iterdir()}
    folder = place / "data/d"
    for number in range(20):
        (folder / "i" / f"{number}.png").rename(folder / "i" / f"z{99 - number}.png")
    names, labels = [f"i/z{99 - number}.png" for number in range(20)], [number % 2 for number in range(20)]
    write_list(folder / "train.txt", names[::-1], labels[::-1])
    _, again = held_of(place, out="other")
    assert sorted(contents(first.val.replace("out/lists", "other"))) == sorted(contents(again.val))
    assert {int(content[-3:]) for content in contents(again.val)} == {
        int(line.split()[0].removesuffix(".png").rpartition("/")[2])
        for line in before["held_out.txt"].decode().splitlines()
    }


def test_a_list_that_has_none_of_the_images_stays_and_a_linked_folder_is_followed(place):
    (place / "elsewhere/deep").mkdir(parents=True)
    (place / "link").symlink_to(place / "elsewhere/deep")
    (place / "data/d/i/copy0.png").write_bytes(b"another one")
    (place / "data/d/i/copy1.png").write_bytes(b"image 777")  # of the same size
    _, held = held_of(place, out="link/lists")
    assert held.train["d/more.txt"] == "d/more.txt"
    assert len(contents(held.val)) == 4


def test_data_sets_that_are_code_and_images_that_are_missing_are_one_line(place):
    written(place, "class Images:\n    pass\n", "data.py")
    written(place, changed(changed(TREE, "classes", 2), "stages.plain.data", {"train": ["data.py:Images"]}))
    with pytest.raises(DataError, match=r"^data\.py:Images is code, and images can be held out of list files alone; w"):
        held_of(place)
    written(place, changed(TREE, "classes", 2))
    (place / "data/d/i/3.png").unlink()
    with pytest.raises(
        DataError, match=r"i/3\.png: cannot be read \(No such file or directory\); run `ssld data check`"
    ):
        held_of(place)


def test_a_class_with_one_image_is_told_with_its_stage(place):
    write_list(place / "data/d/train.txt", ["i/0.png", "i/2.png", "i/1.png"], [0, 0, 1])
    with pytest.raises(DataError, match=r"^stage distill: class 1 has one labelled image, and .*; give more labelled"):
        held_of(place)


def test_the_paths_of_a_list_in_a_linked_folder_lead_where_they_did(place):
    (place / "elsewhere/deep").mkdir(parents=True)
    (place / "data/l").symlink_to(place / "elsewhere/deep")
    for number in range(21):
        (place / f"elsewhere/{number}.png").write_bytes(b"image %03d" % number)
    write_list(place / "data/l/more.txt", [f"../{number}.png" for number in range(21)])
    written(place, changed(changed(TREE, "classes", 2), "stages.distill.data.train", ["d/train.txt", "l/more.txt"]))
    _, held = held_of(place)
    left = {b"image %03d" % number for number in range(21)} - set(contents(held.val))
    assert set(contents(held.train["l/more.txt"])) == left
