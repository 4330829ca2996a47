"""These tests ask docs/what_moves_ssld.md for its verdicts, from results that they plant."""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ssld import cli
from ssld.config import coverage, recipe
from ssld.errors import RecipeError, RunError
from ssld.report import ablation, ledger
from ssld.report.compare import compare
from tests.unit.fake_run import make_result

ROOT = Path(__file__).parents[2]
NOISE = (0.3, -0.3, 0.1, -0.2, 0.1)  # the noise of five seeds has the mean 0
LOSSES, TEACHER = "ablation_losses", "ablation_teacher"


@pytest.fixture
def place(tmp_path):
    """Return the folder of the results, empty, beside a copy of the page and of the findings."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "experiments").mkdir()
    shutil.copy(ROOT / "docs/what_moves_ssld.md", tmp_path / "docs")
    shutil.copy(ROOT / "experiments/ablation.yaml", tmp_path / "experiments")
    return tmp_path / "experiments"


def plant(experiments: Path, name: str, tops: dict[str, list[float]], *overrides: str) -> None:
    """Record results of a recipe, `tops`: {stage: top-1 of seeds 0, 1, ...}; its other stages have 80."""
    path, _ = coverage.shelf_recipe(name)
    for seed in range(len(next(iter(tops.values())))):
        plan = recipe.load(ROOT / path, [f"seed={seed}", *overrides])
        about = {"recipe": name, "group": plan.group, "digest": plan.digest, "images": {"val": 10_000}}
        result = {**make_result(seed), **about, "plan": recipe.plan_tree(plan), "hardware": "A processor"}
        levels = {stage: tops[stage][seed] if stage in tops else 80.0 for stage in plan.stages}
        result["stages"] = {
            stage: {**result["stages"]["fix"], "network": plan.stages[stage].network, "top1": top1, "steps": 1860}
            for stage, top1 in levels.items()
        }
        ledger.record(result, experiments)


def around(mean: float, *noise: float) -> list[float]:
    return [mean + one for one in noise or NOISE]


def verdicts(experiments: Path) -> dict[str, str]:
    return {name: one.verdict for name, one in ablation.measure(experiments).items()}


def test_every_finding_asks_about_two_stages_that_recipes_have_and_every_arm_is_asked_about():
    findings, _ = ablation.load(ROOT / "experiments")
    asked = {side for finding in findings.values() for side in (finding.arm, finding.against)}
    arms = {
        f"{file.stem}:{name}"
        for file in (ROOT / "recipes/ablation").glob("*.yaml")
        for name, stage in recipe.load(file).stages.items()
        if stage.network == "student"
    }
    assert asked == arms | {"label_cache:cached", "label_cache:online"}
    assert all(finding.source for finding in findings.values() if finding.claim != "none")
    for finding in findings.values():  # a published number is the difference of the two that its source names
        ends = re.findall(r"([\d.]+) to ([\d.]+)", finding.source or "")
        assert finding.published == (pytest.approx(float(ends[-1][1]) - float(ends[-1][0])) if ends else None)


def test_the_arms_share_teacher_data_and_steps_but_for_what_they_change():
    plans = {file.stem: recipe.load(file) for file in (ROOT / "recipes/ablation").glob("*.yaml")}
    lent = recipe.load("recipes/label_cache.yaml").stage_digest("teach")
    assert {name for name, plan in plans.items() if plan.stage_digest("teach") != lent} == {TEACHER}
    images = {"fashion_mnist/train_labelled.txt": 6000, "fashion_mnist/train_unlabelled.txt": 54_000}
    images |= {"fashion_pool/few.txt": 1000, "fashion_pool/random.txt": 1000, "fashion_mined/mined.txt": 1000}
    steps = {}
    for name, plan in plans.items():
        for stage, plan_stage in plan.stages.items():
            if plan_stage.network == "student":
                epoch = sum(images[listed] for listed in plan_stage.data.train) // plan_stage.data.batch
                steps[f"{name}:{stage}"] = round(plan_stage.epochs * epoch)
                crop = 28 if stage == "fix" else 26
                assert (plan_stage.data.val, plan_stage.data.crop, plan_stage.data.resize) == (
                    "fashion_mnist/val.txt",
                    crop,
                    28,
                )
    changed = {"ablation_length:ssld_x3", "ablation_stages:finetune", "ablation_stages:fix"}
    assert steps["ablation_length:ssld_x3"] == 3 * 1860
    assert all(1860 <= count <= 1874 for arm, count in steps.items() if arm not in changed)


def test_what_was_not_run_says_so(place):
    assert set(verdicts(place).values()) == {"not run"}
    text = ablation.body(ablation.measure(place))
    for row in re.findall(r"^\| .* against .*$", text, flags=re.MULTILINE):
        assert row.count("| not run ") == 7
    assert "Measured on: not run." in text


def test_a_published_gain_holds_where_the_seeds_show_it_and_not_where_they_show_the_contrary(place):
    plant(place, TEACHER, {"soft_ce": around(82.0)})
    tops = {"soft_ce": around(83.0, 0.1, 0.2, -0.1, 0.0, 0.1), "ssld": around(81.5, *NOISE), "plain": around(83.0)}
    plant(place, LOSSES, tops | {"kl": around(84.5), "js": around(85.0)})
    verdict_of = verdicts(place)
    assert (verdict_of["teacher"], verdict_of["ssld_loss"], verdict_of["distilled"]) == (
        "holds", "does not hold", "not distinguishable here"
    )  # fmt: skip
    assert verdict_of["kl_loss"] == "does not hold"  # the published finding is no difference
    assert verdict_of["js_loss"] == "higher here"  # nothing is published of it
    assert verdict_of["epochs"] == "not run"  # only one side was run


def test_an_absent_difference_is_never_said_to_hold_and_two_seeds_are_too_few(place):
    plant(place, LOSSES, {"soft_ce": around(83.0), "kl": around(83.0, -0.2, 0.1, 0.3, -0.3, 0.1), "js": around(83.0)})
    verdict_of = verdicts(place)
    assert (verdict_of["kl_loss"], verdict_of["js_loss"]) == (
        "not distinguishable here",
    ) * 2  # js is equal on every seed
    shutil.rmtree(place / "results")
    plant(place, LOSSES, {"soft_ce": [80.0, 80.1], "ssld": [90.0, 90.11]})
    assert verdicts(place)["ssld_loss"] == "too few seeds (2 of 3)"


def test_a_verdict_agrees_with_that_of_ssld_compare(place):
    plant(place, LOSSES, {"soft_ce": around(83.0), "ssld": around(83.8, 0.1, 0.2, -0.1, 0.0, 0.1)})
    one = ablation.measure(place)["ssld_loss"]
    assert one.comparison == compare("ablation_losses:ssld", "ablation_losses:soft_ce", "top1", place)
    row = next(line for line in ablation.body({"ssld_loss": one}).splitlines() if line.startswith("| loss ssld"))
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[1:4] == ["+0.20", "83.00 ± 0.24", "83.86 ± 0.11"]
    assert cells[4].startswith("+0.86 ±")
    assert cells[7:] == ["0, 1, 2, 3, 4", "holds"]


def test_results_of_a_changed_recipe_are_left_out(place):
    plant(place, LOSSES, {"ssld": around(90.0)}, "stages.ssld.epochs=3")
    assert set(verdicts(place).values()) == {"not run"}


def test_the_figure_is_whole_xml_with_a_line_for_each_finding_and_its_verdict(place):
    plant(place, LOSSES, {"soft_ce": around(83.0), "ssld": around(83.8, 0.1, 0.2, -0.1, 0.0, 0.1)})
    measured = ablation.measure(place)
    texts = [node.text for node in ElementTree.fromstring(ablation.figure(measured)).iter() if node.text]
    for one in measured.values():
        assert one.finding.change in texts
        assert one.verdict in texts


def test_a_finding_about_a_stage_that_there_is_not_is_refused(place):
    file = place / "ablation.yaml"
    text = file.read_text()
    file.write_text(text.replace("arm: ablation_losses:js", "arm: ablation_losses:jss"))
    with pytest.raises(RecipeError, match=r"ablation\.yaml: js_loss: ablation_losses:jss: no stage of a recipe; give"):
        ablation.load(place)
    file.write_text(text.replace("claim: same", "claim: equal"))
    with pytest.raises(RecipeError, match=r"ablation\.yaml: findings\.kl_loss\.claim"):
        ablation.load(place)


def test_the_command_writes_between_the_marks_and_check_finds_what_is_stale(place, capsys):
    page, words = place.parent / "docs/what_moves_ssld.md", ["report", "ablation", "--out", str(place)]
    with pytest.raises(SystemExit, match=r"what_moves_ssld.*: is not what .* says now; `ssld report abl"):
        cli.main([*words, "--check"])
    cli.main([*words, "--json"])
    assert json.loads(capsys.readouterr().out) == {"ablation": str(page)}
    cli.main([*words, "--check"])
    before, committed = page.read_text(), (ROOT / "docs/what_moves_ssld.md").read_text()
    for part in (slice(0, 1), slice(-1, None)):
        assert re.split("<!-- .*? -->", before)[part] == re.split("<!-- .*? -->", committed)[part]
    plant(place, LOSSES, {"soft_ce": around(83.0), "ssld": around(83.8)})
    with pytest.raises(SystemExit, match="is not what"):
        cli.main([*words, "--check"])
    page.write_text(before.replace(ablation.END, ""))
    with pytest.raises(RunError, match="has no lines"):
        ablation.write(place)


def test_the_page_mines_with_the_teacher_of_the_losses_first_seed():
    plan = recipe.load("recipes/ablation/ablation_losses.yaml")
    assert f"--teacher runs/{plan.name}-{plan.digest[:8]} " in (ROOT / "docs/what_moves_ssld.md").read_text()
