"""These tests compare two recipes, or stages, over the seeds that both have; none may win inside the noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssld import cli
from ssld.config import recipe
from ssld.errors import RunError
from ssld.report import ledger
from ssld.report.compare import as_json, compare, text
from tests.unit.fake_run import make_result
from tests.unit.some_recipe import TREE, changed, written

GAINS = (5.0, 4.8, 5.6, 5.4, 6.2)


@pytest.fixture
def place(tmp_path):
    """Return a function that records results of plans in `tmp_path/experiments`."""

    def keep(name: str, tops: dict[int, float], tree=TREE, *overrides: str, **changes) -> list[Path]:
        files = []
        for seed, top1 in tops.items():
            plan = recipe.load(written(tmp_path, tree, f"{name}.yaml"), [f"seed={seed}", *overrides])
            about = {"recipe": name, "group": plan.group, "digest": plan.digest, "images": {"val": 600}}
            result = make_result(seed, top1=top1, **about, plan=recipe.plan_tree(plan), **changes)
            result["stages"] = {
                stage: {**result["stages"]["fix"], "top1": top1 - at} for at, stage in enumerate(plan.stages)
            }
            files.append(ledger.record(result, tmp_path / "experiments"))
        return files

    return keep


def comparison_of(place: Path, *words: str) -> dict:
    return as_json(compare(*words, *(["top1"] if len(words) == 2 else []), place / "experiments"))


def test_a_clear_difference_is_called_one_with_the_numbers_of_the_formulas(place, tmp_path):
    place("one", {seed: 91 + 0.1 * seed + gain for seed, gain in enumerate(GAINS)})
    place("other", {seed: 91 + 0.1 * seed for seed in range(5)})
    comparison, gain = comparison_of(tmp_path, "one", "other"), np.array(GAINS)
    error = gain.std(ddof=1) / np.sqrt(5)
    assert (comparison["difference"]["mean"], comparison["difference"]["sd"]) == pytest.approx(
        (gain.mean(), gain.std(ddof=1))
    )
    assert (comparison["test"]["t"], comparison["test"]["df"]) == (pytest.approx(gain.mean() / error), 4)
    assert comparison["a"]["mean"] == pytest.approx(91.2 + gain.mean())
    assert min(GAINS) <= comparison["test"]["boot_low"] < gain.mean() < comparison["test"]["boot_high"] <= max(GAINS)
    assert comparison["verdict"].startswith(
        "one is higher in top1 than other over 5 seeds: mean difference +5.40, paired t(4)"
    )
    assert comparison_of(tmp_path, "other", "one")["verdict"].startswith("other is lower in top1 than one over 5 seeds")
    assert comparison["warnings"] == ()


def test_there_is_no_winner_inside_the_noise(place, tmp_path):
    place("one", {0: 91.3, 1: 90.7, 2: 91.3, 3: 90.7})
    place("other", dict.fromkeys(range(4), 91.1))
    comparison = comparison_of(tmp_path, "one", "other")
    assert comparison["verdict"].startswith("No winner: one and other are not distinguishable over 4 seeds: mean")
    assert comparison["test"]["boot_low"] < 0 < comparison["test"]["boot_high"]


def test_two_pairs_make_no_winner_however_small_their_p(place, tmp_path):
    place("one", {0: 95.0, 1: 95.004})
    place("other", {0: 90.0, 1: 90.0})
    comparison = comparison_of(tmp_path, "one", "other")
    assert comparison["test"]["p"] < 0.01
    assert comparison["verdict"] == "No winner: 2 paired seeds, at least 3 are needed; mean difference +5.00."


def test_equal_differences_allow_no_test(place, tmp_path):
    place("one", dict.fromkeys(range(3), 92.0))
    place("other", dict.fromkeys(range(3), 91.0))
    assert (
        comparison_of(tmp_path, "one", "other")["verdict"]
        == "No test: the difference of one and other is +1.00 for each of 3 seeds."
    )


def test_seeds_that_one_side_lacks_are_left_out_and_named(place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5, 7: 10.0})
    place("other", {2: 91.0, 1: 91.0, 0: 91.0, 5: 99.0})
    comparison = compare("one", "other", "top1", tmp_path / "experiments")
    assert (comparison.seeds, comparison.left_out) == ((0, 1, 2), ((7,), (5,)))
    assert comparison.a.mean == pytest.approx(92.5)
    printed = text(comparison).splitlines()
    assert any(line.split() == ["left", "out", "of", "one", "7"] for line in printed)
    assert any(line.split() == ["paired", "seeds", "0,", "1,", "2"] for line in printed)


def test_stages_of_one_recipe_may_be_compared(place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5})
    comparison = comparison_of(tmp_path, "one:distill", "one:finetune")
    assert comparison["a"]["mean"] == pytest.approx(92.5 - 2)
    assert comparison["b"]["mean"] == pytest.approx(92.5 - 3)


def test_another_metric_is_read_from_where_its_name_leads(place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5}, agreement={"kl": 0.25})
    place("other", {0: 92.0, 1: 93.0, 2: 92.5}, agreement={"kl": 0.125})
    comparison = comparison_of(tmp_path, "one", "other", "agreement.kl")
    assert (comparison["a"]["mean"], comparison["difference"]["mean"]) == (0.25, 0.125)
    assert comparison_of(tmp_path, "one:distill", "other:distill", "loss")["b"]["mean"] == pytest.approx(0.2)


def test_two_plans_of_one_name_have_to_be_told_apart(place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.4})
    place("one", {0: 90.0, 1: 90.5, 2: 90.3}, TREE, "stages.distill.epochs=2")
    groups = [
        recipe.load(written(tmp_path, TREE, "one.yaml"), words).group for words in ([], ["stages.distill.epochs=2"])
    ]
    with pytest.raises(RunError, match=r"one: holds results of 2 plans; name one: .*one@\w{8} \(3 seeds\)") as caught:
        comparison_of(tmp_path, "one", "one")
    assert all(group[:8] in str(caught.value) for group in groups)
    comparison = comparison_of(tmp_path, f"one@{groups[0][:8]}:distill", f"one@{groups[1][:10]}:distill")
    assert comparison["difference"]["mean"] == pytest.approx(np.mean([2.0, 2.5, 2.1]))
    assert comparison["warnings"] == ()  # the shelf has neither recipe, so both are reduced
    with pytest.raises(RunError, match="one@00000000: is the beginning of no plan's digest, or of several"):
        comparison_of(tmp_path, "one@00000000", "one")


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (("stage.data.val", "e/val.txt"), "the validation list differs: d/val.txt and e/val.txt"),
        (("stage.data.eval_size", 64), "the crop of the evaluation differs: 32 of 37 pixels and 64 of 73 pixels"),
        (("classes", 12), "the number of classes differs: 10 and 12"),
    ],
)
def test_what_makes_no_fair_pair_is_said(change, warning, place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5})
    place("other", {0: 92.0, 1: 93.0, 2: 92.4}, changed(TREE, *change))
    comparison = compare("one", "other", "top1", tmp_path / "experiments")
    assert comparison.warnings == (warning,)
    assert text(comparison).endswith(f"warning: {warning}")


def test_another_number_of_images_and_a_smoke_run_are_said(place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5})
    files = place("other", {0: 92.0, 1: 93.0, 2: 92.4})
    for file in files:
        result = json.loads(file.read_text())
        result["images"]["val"], result["plan"]["scope"] = 10, "smoke"
        del result["checksum"]
        file.write_text(json.dumps(result))
    assert comparison_of(tmp_path, "one", "other")["warnings"] == (
        "scope differs: reduced and smoke",
        "the number of validation images differs: 600 and 10",
    )


def test_run_folders_results_and_pages_serve_as_well_as_names(place, tmp_path):
    files = place("one", {0: 92.0, 1: 93.0, 2: 92.4})
    place("other", {0: 91.0, 1: 91.2, 2: 91.1})
    page = ledger.write_seed_report(files, tmp_path / "experiments" / "one.md")
    for number, file in enumerate(files):
        (tmp_path / "runs" / str(number)).mkdir(parents=True)
        (tmp_path / "runs" / str(number) / "result.json").write_bytes(file.read_bytes())
    by_name = comparison_of(tmp_path, "one", "other")
    for path in (tmp_path / "runs", page.with_suffix(".json")):
        assert comparison_of(tmp_path, str(path), "other")["difference"] == by_name["difference"]
        assert comparison_of(tmp_path, f"{path}:distill", "other:distill")["difference"] == by_name["difference"]
    for path in (tmp_path / "runs" / "1", files[1]):
        comparison = comparison_of(tmp_path, str(path), "other")
        assert (comparison["seeds"], comparison["test"]) == ((1,), None)
        assert comparison["verdict"].startswith("No winner: 1 paired seed, at least 3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("on", "one"), "on: no results of a recipe of this name in .*; did you mean 'one'"),
        (("one:distil", "one"), "one:distil: one has no stage 'distil'; did you mean 'distill'"),
        (("one", "one", "top_1"), "one: no number 'top_1' of seed 0; did you mean 'top1'"),
        (("one", "late"), r"one and late: no seed is on both sides \(0, 1, 2 and 8\)"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, message, place, tmp_path):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5})
    place("late", {8: 92.0})
    with pytest.raises(RunError, match=message):
        comparison_of(tmp_path, *words)


def test_a_folder_without_runs_and_a_file_that_is_no_result_are_named(tmp_path):
    with pytest.raises(RunError, match=r"no finished run there \(result.json\)"):
        comparison_of(tmp_path, str(tmp_path), "one")
    for content, message in (("[]", "damaged"), ("{}", "is no result"), ('{"kind": "evaluation"}', "is no result")):
        (tmp_path / "some.json").write_text(content)
        with pytest.raises(RunError, match=rf"some.json: {message}"):
            comparison_of(tmp_path, str(tmp_path / "some.json"), "one")


def test_the_command_prints_the_verdict_or_json(place, tmp_path, capsys):
    place("one", {0: 92.0, 1: 93.0, 2: 92.5})
    words = ["compare", "one:plain", "one:distill", "--experiments", str(tmp_path / "experiments")]
    cli.main(words)
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split() == ["one:plain", "91.50", "±", "0.50"]
    assert "No test: the difference of one:plain and one:distill is +1.00 for each of 3 seeds." in printed
    cli.main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 3
