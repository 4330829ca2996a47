"""`ssld bench`: every student in turn, the rows that are kept, the images of a list."""

import csv
import json
import os
from typing import Any

import pytest

from ssld import cli
from ssld.commands import bench
from ssld.config import cards
from ssld.errors import DataError, DeployError


def benched(*words: str) -> Any:
    """The result of `ssld bench`, typed with these words."""
    return bench.bench(**cli.options(cli._parse(["bench", *words])))


@pytest.fixture
def two_students(monkeypatch):
    two = {
        arch: card
        for arch, card in cards.all_students().items()
        if arch in ("MobileNetV3_small_x0_35", "SqueezeNet1_1")
    }
    monkeypatch.setattr(cards, "all_students", lambda: two)
    return list(two)


def test_all_students_are_measured_one_after_the_other_and_kept_as_they_come(two_students, tmp_path, capsys):
    words = ["--all-students", "--engine", "onnxruntime", "--image-size", "64", "--span", "model", "--quick"]
    benched(*words, "--csv", str(tmp_path / "b.csv"))
    with (tmp_path / "b.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["size"]) for row in rows] == [(arch, "64") for arch in two_students]
    content = json.loads((tmp_path / "b.json").read_text())
    assert [row["network"] for row in content["rows"]] == two_students
    assert content["machine"]["versions"]["onnxruntime"]
    assert f"bench: 2 of 2, {two_students[1]}" in capsys.readouterr().err


def test_a_student_that_gives_no_rows_is_named_and_the_others_are_kept(two_students, tmp_path, monkeypatch):
    real = bench._measure

    def measure(targets, question):
        if targets == two_students[:1]:
            raise DeployError("x: cannot run")
        return real(targets, question)

    monkeypatch.setattr(bench, "_measure", measure)
    words = ["--all-students", "--engine", "onnxruntime", "--image-size", "32", "--span", "model", "--quick"]
    with pytest.raises(DeployError, match=f"^bench: 1 of 2 gave no rows: {two_students[0]}; see above why"):
        benched(*words, "--csv", str(tmp_path / "b.csv"))
    assert (tmp_path / "b.csv").read_text().count("\n") == 2


@pytest.mark.parametrize("name", ["b.csv", "b.json"])
def test_a_pipe_in_the_place_of_a_file_is_told_before_anything_is_measured(tmp_path, name, monkeypatch):
    monkeypatch.setattr(bench, "_measure", None)
    os.mkfifo(tmp_path / name)
    with pytest.raises(DeployError, match=rf"/{name}: cannot be written \(no regular file\); choose another --csv"):
        benched("x", "--csv", str(tmp_path / "b.csv"))


def test_images_that_would_not_be_used_are_refused():
    with pytest.raises(DeployError, match="--images are for end-to-end; add that to --span"):
        benched("x", "--images", "val.txt", "--span", "model")


def test_the_images_of_a_bench_are_the_first_of_a_list(tmp_path):
    (tmp_path / "val.txt").write_text("".join(f"images/{number}.jpg {number}\n" for number in range(70)))
    assert bench._pictures(str(tmp_path / "val.txt")) == [tmp_path / f"images/{number}.jpg" for number in range(64)]
    assert bench._pictures(None) == []
    with pytest.raises(DataError, match=r"none.txt: "):
        bench._pictures(str(tmp_path / "none.txt"))
