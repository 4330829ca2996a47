"""These tests ask whether a name that becomes a file or a folder can lead out of the folder that it is meant for."""

from pathlib import Path

import pytest

from ssld.config import recipe, sweep
from ssld.data.target import Target
from ssld.errors import DataError, RecipeError, RunError, SsldError
from ssld.report import ledger
from ssld.spec.names import LONGEST, check_name
from tests.unit.some_recipe import TREE, written

BAD = {
    "../../x": "has a path separator",
    "/etc": "has a path separator",
    "a\\b": "has a path separator",
    "..": "begins with a dot",
    ".hidden": "begins with a dot",
    "": "is empty",
    " a": "begins or ends with white space",
    "a\u3000": "begins or ends with white space",
    "a.": "ends with a dot",
    "a\x1b[31m": "has a character that cannot be seen",
    "a\nb": "has a character that cannot be seen",
    "a\x00": "has a character that cannot be seen",
    "\u202egnp.exe": "has a character that cannot be seen",
    "a\udc80": "has a character that cannot be seen",
    "é" * (LONGEST // 2 + 1): "has more than 200 bytes",
    "NUL": "is the name of a device",
    "com1.txt": "is the name of a device",
}


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_no_plain_one_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(RunError) as caught:
        check_name(name, "here: name", RunError)
    assert str(caught.value).startswith("here: name: ")
    assert f"' {BAD[name]}; write a plain name, which may be in any language" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["quickstart", "学生", "Größe 2", "a.b-c_d", "ResNet50_vd", "x" * LONGEST, "نموذج", "console"]
)
def test_names_of_any_language_are_plain(name: str, tmp_path: Path) -> None:
    check_name(name, "name")
    (tmp_path / f".{name}-0123abcd.partial-4194304.previous").touch()  # the longest name that is made of one


@pytest.mark.parametrize("key", ["name", "stages", "teachers", "prepare"])
def test_every_name_of_a_recipe_that_becomes_a_path_is_checked(tmp_path: Path, key: str) -> None:
    parts = {
        "stages": TREE["stages"]["plain"],
        "teachers": {"card": "ResNet152_vd"},
        "prepare": {"sources": ["a"], "teacher": "ResNet152_vd", "against": "val.txt", "k": 1},
    }
    tree = {**TREE, key: "../x" if key == "name" else {**(TREE.get(key) or {}), "../x": parts[key]}}
    with pytest.raises(RecipeError, match=rf"{key}: '\.\./x' has a path separator; write a plain name"):
        recipe.load(written(tmp_path, tree))


def test_the_name_of_a_sweep_is_checked(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "{name: ../../x, recipe: quickstart, method: grid, parameters: {seed: {value: 1}}}"
    )
    with pytest.raises(RecipeError, match=r"s\.yaml: name: '\.\./\.\./x' has a path separator"):
        sweep.load(str(tmp_path / "s.yaml"))


@pytest.mark.parametrize(("name", "digest"), [("..", "0" * 64), ("a", "../../../../x"), ("a/../..", "0" * 64)])
def test_a_result_is_not_recorded_outside_the_ledger(tmp_path: Path, name: str, digest: str) -> None:
    with pytest.raises(RunError, match="write a plain name"):
        ledger.record({"recipe": name, "digest": digest, "complete": True}, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_stage_of_metrics_is_no_path(tmp_path: Path) -> None:
    from ssld.track.tensorboard import TensorBoard

    board = TensorBoard(tmp_path / "run")
    with pytest.raises(SsldError, match=r"metrics\.jsonl: stage: '\.\./\.\./x' has a path separator"):
        board.log(1, {"stage": "../../x", "kind": "train", "step": 1, "loss": 1.0})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cat\ndog", "cat\rdog"])
def test_a_class_with_a_line_break_would_shift_all_names_and_is_refused(tmp_path: Path, name: str) -> None:
    target = Target("folder", tmp_path / "out", {})
    with pytest.raises(DataError, match="a class has a line break in its name; rename the folder of the class"):
        target.finish([name, "horse"])
