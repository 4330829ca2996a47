"""`ssld export`: what the options of the command line change of a recipe's block."""

from dataclasses import fields
from typing import Any

import pytest

from ssld import cli
from ssld.commands import export as command
from ssld.commands.export import Changes
from ssld.config.delivery import Export
from ssld.errors import DeployError, RecipeError


@pytest.fixture
def changed(monkeypatch):
    """A function of a block and of words behind `ssld export run` -> the block with which the run is exported."""

    def ask(block: Export, *words: str) -> Export:
        asked: list[Export] = []
        monkeypatch.setattr(command, "_export_run", lambda run, folder, changes: asked.append(changes.of(block)) or {})
        exported("run", *words)
        return asked[0]

    return ask


def exported(*words: str) -> Any:
    """The result of `ssld export`, typed with these words."""
    return command.export(**cli.options(cli._parse(["export", *words])))


def test_the_command_line_of_an_export_changes_the_recipes_block(changed):
    words = ["--format", "onnx", "int8", "--with-preprocess", "--no-dynamic-batch", "--opset", "13"]
    export = changed(Export(gate_images=7), *words, "--gate", "top1_int8=1", "diff=1e-3")
    assert export == Export(
        formats=("onnx", "int8"), preprocess=True, dynamic_batch=False, opset=13, gate_images=7, gate_top1_int8=1.0,
        gate_diff=1e-3,
    )  # fmt: skip
    assert changed(Export(softmax=True)) == Export(softmax=True)
    assert changed(Export(), "--no-with-softmax", "--format", "tensorrt", "--precision", "fp16") == Export(
        formats=("tensorrt",), plan_precision="fp16"
    )
    with pytest.raises(RecipeError, match="export: gate_top1: should be a number from 0 to 100; got 'much'"):
        changed(Export(), "--gate", "top1=much")


def test_every_change_is_one_of_a_key_of_the_block():
    assert {field.name for field in fields(Changes)} - {"gate"} < {field.name for field in fields(Export)}


def test_an_option_that_would_do_nothing_is_refused(changed):
    with pytest.raises(DeployError, match="--data belongs to a model with --weights"):
        exported("run", "--data", "val.txt")
    with pytest.raises(DeployError, match="--precision is that of a TensorRT plan; add --format tensorrt"):
        changed(Export(), "--precision", "fp16")
