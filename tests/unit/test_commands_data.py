"""`ssld data`: what is told of a list, and of what was left out of a folder."""

import shutil

import numpy as np
import pytest
from PIL import Image

from ssld.commands.data import data
from ssld.data.lists import read_list, write_list
from ssld.errors import DataError, UsageError

PREPARE = dict.fromkeys(
    ("source", "out", "val_share", "imagenet", "ground_truth", "labelled", "seed", "class_list", "fonts")
)


def run(action, what, **options):
    asked = {**PREPARE, "allow_partial": False, "classes": None, "root": None, "against": None, "background": "white"}
    return data(action=action, what=str(what), **{**asked, "threads": 2, "quiet": True, **options})


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "again.png")
    shutil.copy(tmp_path / "b.png", tmp_path / "other.png")
    write_list(tmp_path / "train.txt", ["a.png", "b.png", "again.png", "clear.png"], [0, 0, 0, 2])
    write_list(tmp_path / "val.txt", ["other.png", "c.png"], [0, 1])
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    return tmp_path


def test_a_check_counts_what_is_flat_transparent_double_and_shared(place, capsys):
    found = run("check", place / "train.txt", against=str(place / "val.txt"), classes=3)
    numbers = {"images": 4, "labelled": 4, "unreadable": 0, "transparent": 1, "flat": 1, "doubles": 1, "shared": 1}
    assert found == {"list": str(place / "train.txt"), **numbers, "clean": None}
    assert capsys.readouterr().err.splitlines() == [
        f"1 images of one flat colour: {place / 'clear.png'}",
        f"1 images with the bytes of an earlier one: {place / 'again.png'} = {place / 'a.png'}",
        f"1 images with the bytes of one of {place / 'val.txt'}: {place / 'b.png'} = {place / 'other.png'}",
        "1 classes without an image: dog",
        "1 classes of one image: owl",
    ]
    assert run("check", place / "val.txt", classes=2)["shared"] is None


def test_a_colour_that_is_none_and_an_image_that_is_none_are_told(place, capsys):
    with pytest.raises(UsageError, match="--background wite: is no colour"):
        run("check", place / "train.txt", background="wite")
    (place / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train\.txt: 1 of 4 images cannot be read"):
        run("check", place / "train.txt")
    assert f"{place / 'b.png'}: no image that can be read" in capsys.readouterr().err


def test_a_list_without_the_images_that_cannot_be_read_is_written(place, capsys):
    (place / "b.png").write_bytes(b"no image")
    (place / "again.png").unlink()
    with pytest.raises(DataError, match=r"2 of 4 images cannot be read; remove them .* or let --out FILE write a list"):
        run("check", place / "train.txt")
    found = run("check", place / "train.txt", out=str(place / "clean.txt"))
    assert (found["images"], found["unreadable"], found["clean"]) == (4, 2, str(place / "clean.txt"))
    assert (place / "clean.txt").read_text() == "a.png 0\nclear.png 2\n"
    told = capsys.readouterr().err
    assert f"{place / 'b.png'}: no image that can be read" in told
    assert f"{place / 'again.png'}: no such file" in told
    assert run("check", place / "clean.txt")["unreadable"] == 0
    (place / "sub").mkdir()
    run("check", place / "train.txt", out=str(place / "sub/clean.txt"))  # paths there start from another folder
    files = read_list(place / "sub/clean.txt", place / "sub", 3)
    assert [files.path(i) for i in range(2)] == [str(place / "a.png"), str(place / "clear.png")]
    assert (place / "sub/classes.txt").read_text() == "cat\ndog\nowl\n"


@pytest.mark.parametrize(
    ("out", "other", "message"),
    [
        ("val.txt", {}, r"val\.txt: is there already; give another --out"),
        ("gone/clean.txt", {}, r"gone/clean\.txt: there is no such folder; make it first"),
        ("clean.txt", {"train.scoring.json": "{}"}, r"train\.txt: train\.scoring\.json beside it says of each image"),
        (
            "sub/clean.txt",
            {"sub/classes.txt": "dog\ncat\n"},
            r"sub/classes\.txt: names other classes than the one besi",
        ),
    ],
)
def test_a_list_that_cannot_be_written_is_told_before_an_image_is_decoded(place, out, other, message, monkeypatch):
    monkeypatch.setattr("ssld.commands.data.check", None)
    (place / "sub").mkdir()
    for name, text in other.items():
        (place / name).write_text(text)
    with pytest.raises(DataError, match=message):
        run("check", place / "train.txt", out=str(place / out))


def test_a_list_without_an_image_that_can_be_read_is_not_written(place):
    for name in "abcd":
        (place / f"{name}.png").write_bytes(b"no image")
    write_list(place / "bad.txt", ["a.png", "b.png"])
    with pytest.raises(DataError, match="no image of it can be read; nothing was written"):
        run("check", place / "bad.txt", out=str(place / "clean.txt"))
    assert not (place / "clean.txt").exists()


def test_what_a_preparation_leaves_out_is_told(place, tmp_path, capsys):
    pets = tmp_path / "pets"
    for name in ("cat", "dog"):
        (pets / name).mkdir(parents=True)
        for image in "ab":
            shutil.copy(place / f"{image}.png", pets / name)
    (pets / "dog/c.gif").write_bytes(b"GIF")
    found = run("prepare", "folder", source=str(pets), out=str(tmp_path / "out"), val_share=0)
    assert found["left_out"] == {"no image that is read (.gif)": 1}
    assert "left out, no image that is read (.gif): 1 (dog/c.gif)" in capsys.readouterr().err.splitlines()
