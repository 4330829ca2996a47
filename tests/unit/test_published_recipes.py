"""The recipes of the published _ssld models: the numbers of the published tables, and what their headers say."""

import re
from pathlib import Path

import pytest

from ssld.config import cards, parse, recipe
from ssld.planning import cost_line, parts_of

WSL, R50 = "ResNeXt101_32x16d_wsl", "ResNet50_vd_ssld"
# PaddleClas release/static:docs/zh_CN/advanced_tutorials/distillation/distillation.md, tables of both stages:
# decay, (batch, lr) of the first stage, (epochs, batch, lr) of the second. The first stage has 360 epochs throughout.
TABLES = {
    "mobilenet_v1_ssld": (R50, 3e-5, (4096, 1.6), (30, 4096, 0.016)),
    "mobilenet_v2_ssld": (R50, 1e-5, (3072, 0.54), (30, 3072, 0.0054)),
    "mobilenet_v3_large_x1_0_ssld": (R50, 1e-5, (5760, 3.65625), (30, 2048, 0.008)),
    "mobilenet_v3_small_x1_0_ssld": (R50, 1e-5, (5760, 3.65625), (30, 6400, 0.025)),
    "resnet50_vd_ssld": (WSL, 7e-5, (1024, 0.4), (60, 1024, 0.004)),
    "resnet101_vd_ssld": (WSL, 7e-5, (1024, 0.4), (30, 1024, 0.004)),
    "res2net200_vd_26w_4s_ssld": (WSL, 4e-5, (1024, 0.4), (360, 1024, 0.004)),
}
# The sources give no such row: choices, which the recipes explain.
CHOSEN = {
    "resnet34_vd_ssld": (WSL, 7e-5, (1024, 0.4), (60, 1024, 0.004)),
    "resnet50_vd_ssld_v2": (WSL, 2e-5, (1024, 0.4), (60, 1024, 0.004)),
    "fix_resnet50_vd_ssld_v2": (WSL, 2e-5, (1024, 0.4), (60, 1024, 0.004)),
    "hrnet_w18_c_ssld": (WSL, 7e-5, (1024, 0.4), (30, 1024, 0.004)),
    "hrnet_w48_c_ssld": (WSL, 7e-5, (1024, 0.4), (30, 1024, 0.004)),
    "ghostnet_x1_3_ssld": (R50, 1e-5, (4096, 1.6), (30, 4096, 0.016)),
    "mobilenet_v3_large_x1_0_ssld_int8": (R50, 1e-5, (5760, 3.65625), (30, 2048, 0.008)),
}
UNDECAYED = {
    "mobilenet_v3_large_x1_0_ssld",
    "mobilenet_v3_small_x1_0_ssld",
    "mobilenet_v3_large_x1_0_ssld_int8",
    "ghostnet_x1_3_ssld",
}  # batch norms, in 1.x
NOT_IN_THE_OVERVIEW = {"ghostnet_x1_3_ssld"}
each = pytest.mark.parametrize("name", [*TABLES, *CHOSEN])


def header(name):
    """The comment that a recipe opens with, as one line a paragraph line."""
    lines = parse.locate(name).read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in lines[: next(i for i, x in enumerate(lines) if not x)]]


def test_every_recipe_over_the_published_protocol_is_here():
    over = {file.stem for file in parse.recipes() if "base: _base/ssld.yaml" in file.read_text(encoding="utf-8")}
    assert over == {*TABLES, *CHOSEN}


@each
def test_the_hyper_parameters_are_the_published_or_the_chosen_ones(name):
    teacher, decay, first, (epochs, batch, lr) = (TABLES | CHOSEN)[name]
    plan = recipe.load(name)
    distill, finetune = plan.stages["distill"], plan.stages["finetune"]
    assert (plan.teacher.card, plan.teacher.norm, plan.classes) == (teacher, "batch", 1000)
    assert (distill.epochs, distill.data.batch, distill.optim.lr, distill.init) == (360, *first, "scratch")
    assert (finetune.epochs, finetune.data.batch, finetune.optim.lr, finetune.init) == (epochs, batch, lr, "distill")
    for stage in (distill, finetune):
        assert (stage.optim.weight_decay, stage.optim.decay_all) == (decay, name not in UNDECAYED)
        assert (stage.optim.momentum, stage.optim.schedule, stage.optim.warmup_epochs) == (0.9, "cosine", 5)
        assert (stage.data.size, stage.data.resize, list(stage.loss)) == (224, 256, ["ssld"])
        assert stage.data.augment.auto == ("autoaugment" if "v2" in name.split("_")[-1] else "none")
        assert stage.data.augment.mixup == stage.data.augment.cutmix == 0


@each
def test_its_images_are_imagenet_1k_and_the_4_million_of_imagenet_22k_that_it_mines(name):
    plan = recipe.load(name)
    assert list(plan.prepare) == ["imagenet_mined"]
    step = plan.prepare["imagenet_mined"]
    assert (step.sources, step.teacher, step.against) == (("imagenet_22k",), WSL, "imagenet/val_list.txt")
    assert step.k * 1000 == 4_000_000
    assert plan.stages["distill"].data.train == ("imagenet/train_list.txt", "imagenet_mined/mined.txt")
    for stage in list(plan.stages.values())[1:]:
        assert (stage.data.train, stage.data.val) == (("imagenet/train_list.txt",), "imagenet/val_list.txt")


def test_the_fix_recipe_goes_on_from_the_stages_of_v2_with_what_inference_sees():
    v2, fix = recipe.load("resnet50_vd_ssld_v2"), recipe.load("fix_resnet50_vd_ssld_v2")
    for name in ("distill", "finetune"):  # so a run beside a finished one of v2 takes them over
        assert fix.stage_digest(name) == v2.stage_digest(name)
    stage = fix.stages["fix"]
    assert (stage.init, stage.train, stage.data.size, stage.data.crop, stage.data.resize) == (
        "finetune", "head", 320, 320, 320
    )  # fmt: skip
    augment = stage.data.augment
    assert (augment.area, augment.flip, augment.auto) == ((1.0, 1.0), 0.0, "none")


def test_the_recipe_in_int8_goes_on_from_the_stages_of_the_float_one():
    float_one, in_int8 = (recipe.load(f"mobilenet_v3_large_x1_0_ssld{end}") for end in ("", "_int8"))
    for name in ("distill", "finetune"):  # so a run beside a finished one of it takes them over
        assert in_int8.stage_digest(name) == float_one.stage_digest(name)
    stage = in_int8.stages["qad"]
    assert (stage.init, stage.quantize.teacher, in_int8.export.formats) == ("finetune", "float", ("int8",))


@each
def test_the_card_of_the_student_names_the_recipe_and_the_claim(name):
    plan = recipe.load(name)
    claims = cards.find_student(plan.student.arch).published
    named = [claim for claim in claims.values() if claim.recipe == f"recipes/{name}.yaml"]
    if name in NOT_IN_THE_OVERVIEW:
        assert not named
        assert plan.claim == 79.38  # PaddleClas release/static:docs/zh_CN/update_history.md, 2020.11.23
    else:
        (claim,) = named
        assert claim.top1 == plan.claim
        assert claim.name.lower().replace("mobilenetv", "mobilenet_v") == name
        assert claim.teacher in (None, plan.teacher.card)
    assert f"{claims['plain'].top1:.2f} -> " in plan.title


@each
def test_it_opens_with_claim_command_cost_and_source(name):
    plan, lines = recipe.load(name), header(name)
    assert re.fullmatch(
        rf"{plan.student.arch} from {plan.teacher.card}: [\d.]+ -> [\d.]+ top-1 \(published\)\.", lines[0]
    )
    assert float(lines[0].split()[5]) == pytest.approx(plan.claim, abs=0.005)
    assert f"ssld run recipes/{name}.yaml --ranks auto" in lines
    assert any(line.startswith(f"ssld run recipes/{name}.yaml --smoke") for line in lines)
    (source,) = [line for line in lines if line.startswith("Source: ")]
    assert "PaddleClas release/static:" in source
    assert "Open in the sources:" in lines


@each
def test_the_cost_in_its_header_is_what_plan_counts(name):
    """Without any list at hand, so by the known sizes."""
    (told,) = [line for line in header(name) if line.startswith("Cost: ")]
    assert told == f"Cost: {cost_line(parts_of(recipe.load(name), Path('no such folder')))}."
