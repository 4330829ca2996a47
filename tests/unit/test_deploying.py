"""`ssld bench --all-students`, and what the commands do with their arguments."""

import argparse
import csv
import json

import pytest

from ssld import cli, deploying
from ssld.config import cards
from ssld.config.delivery import Export
from ssld.errors import DataError, DeployError, RecipeError


def parsed(*words: str) -> argparse.Namespace:
    return cli._parse(list(words))


@pytest.fixture
def two_students(monkeypatch):
    two = {
        arch: card
        for arch, card in cards.all_students().items()
        if arch in ("MobileNetV3_small_x0_35", "SqueezeNet1_1")
    }
    monkeypatch.setattr(cards, "all_students", lambda: two)
    return list(two)


def test_all_students_are_measured_one_after_the_other_and_kept_as_they_come(
    two_students, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(deploying, "table", lambda rows, title: None)
    words = ["bench", "--all-students", "--engine", "onnxruntime", "--image-size", "64", "--span", "model", "--quick"]
    deploying.bench_any(parsed(*words, "--csv", str(tmp_path / "b.csv")))
    with (tmp_path / "b.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["size"]) for row in rows] == [(arch, "64") for arch in two_students]
    held = json.loads((tmp_path / "b.json").read_text())
    assert [row["network"] for row in held["rows"]] == two_students
    assert held["machine"]["versions"]["onnxruntime"]
    assert f"bench: 2 of 2, {two_students[1]}" in capsys.readouterr().err


def test_a_student_that_gives_no_rows_is_named_and_the_others_are_kept(two_students, tmp_path, monkeypatch):
    real = deploying.bench_group

    def group(targets, args):
        if targets == two_students[:1]:
            raise DeployError("x: cannot run")
        return real(targets, args)

    monkeypatch.setattr(deploying, "bench_group", group)
    words = ["bench", "--all-students", "--engine", "onnxruntime", "--image-size", "32", "--span", "model", "--quick"]
    with pytest.raises(DeployError, match=f"^bench: 1 of 2 gave no rows: {two_students[0]}; see above why"):
        deploying.bench_any(parsed(*words, "--csv", str(tmp_path / "b.csv")))
    assert (tmp_path / "b.csv").read_text().count("\n") == 2


def test_the_command_line_of_an_export_changes_the_recipes_block():
    words = ["export", "run", "--format", "onnx", "int8", "--with-preprocess", "--no-dynamic-batch", "--opset", "13"]
    export = deploying.options(Export(gate_images=7), parsed(*words, "--gate", "top1_int8=1", "diff=1e-3"))
    assert export == Export(
        formats=("onnx", "int8"), preprocess=True, dynamic_batch=False, opset=13, gate_images=7, gate_top1_int8=1.0,
        gate_diff=1e-3,
    )  # fmt: skip
    assert deploying.options(Export(softmax=True), parsed("export", "run")) == Export(softmax=True)
    with pytest.raises(RecipeError, match="export: gate_top1: Input should be a valid number"):
        deploying.options(Export(), parsed("export", "run", "--gate", "top1=much"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "run", "--data", "val.txt"], "--data belongs to a model with --weights"),
        (["bench", "x", "--images", "val.txt", "--span", "model"], "--images are for end-to-end; add that to --span"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words, message):
    args = parsed(*words)
    with pytest.raises(DeployError, match=message):
        (deploying.export_any if words[0] == "export" else deploying.bench_any)(args)
    with pytest.raises(DeployError, match="--precision is that of a TensorRT plan; add --format tensorrt"):
        deploying.options(Export(), parsed("export", "run", "--precision", "fp16"))


def test_the_images_of_a_bench_are_the_first_of_a_list(tmp_path):
    (tmp_path / "val.txt").write_text("".join(f"images/{number}.jpg {number}\n" for number in range(70)))
    assert deploying.pictures(str(tmp_path / "val.txt")) == [tmp_path / f"images/{number}.jpg" for number in range(64)]
    assert deploying.pictures(None) == []
    with pytest.raises(DataError, match=r"none.txt: "):
        deploying.pictures(str(tmp_path / "none.txt"))
