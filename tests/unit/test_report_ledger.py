"""These tests ask whether measured results are kept, and seeds are compared without a winner inside the noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssld.errors import RunError
from ssld.report import ledger
from tests.unit.fake_run import bench_row, make_result

GAINS = (5.0, 4.8, 5.6, 5.4, 6.2)


def five_seeds() -> list[dict]:
    return [make_result(seed, top1=91 + 0.1 * seed + gain, baseline=91 + 0.1 * seed) for seed, gain in enumerate(GAINS)]


def noise() -> list[dict]:
    return [make_result(seed, top1=91 + sign * 0.3, baseline=91.1) for seed, sign in enumerate((1, -1, 1, -1))]


def test_a_result_is_kept_under_its_recipe_and_digest(tmp_path: Path) -> None:
    result = make_result()
    file = ledger.record(result, tmp_path)
    assert file == tmp_path / "results" / "quickstart" / f"{result['digest'][:12]}.json"
    assert ledger.load(file) == result


def test_recording_the_same_result_again_changes_nothing(tmp_path: Path) -> None:
    file = ledger.record(make_result(), tmp_path)
    before = file.stat().st_mtime_ns
    assert ledger.record(make_result(), tmp_path) == file
    assert file.stat().st_mtime_ns == before


def test_another_measurement_of_the_same_plan_is_refused_and_the_first_kept(tmp_path: Path) -> None:
    file = ledger.record(make_result(), tmp_path)
    before = file.read_bytes()
    with pytest.raises(RunError, match="another measurement"):
        ledger.record(make_result(top1=99.9), tmp_path)
    assert file.read_bytes() == before


def test_an_unfinished_run_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not complete"):
        ledger.record(make_result(complete=False), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_summary_is_that_of_the_formulas() -> None:
    summary = ledger.summarise(five_seeds())
    gain, test = np.array(GAINS), summary.test
    error = gain.std(ddof=1) / np.sqrt(5)
    assert test is not None
    assert summary.spreads["gain"].mean == pytest.approx(gain.mean())
    assert summary.spreads["gain"].sd == pytest.approx(gain.std(ddof=1))
    assert (test.t, test.df) == (pytest.approx(gain.mean() / error), 4)
    # 2.776445 is the 97.5 % point of Student's t with 4 degrees of freedom, as in any table of it
    assert (test.low, test.high) == pytest.approx(
        (gain.mean() - 2.776445 * error, gain.mean() + 2.776445 * error), abs=1e-5
    )
    assert test.p == pytest.approx(2.506e-5, rel=1e-3)


def test_results_may_be_given_as_files_in_any_order(tmp_path: Path) -> None:
    files = [ledger.record(result, tmp_path) for result in reversed(five_seeds())]
    assert ledger.summarise(files) == ledger.summarise(five_seeds())


def test_a_clear_gain_is_called_better() -> None:
    assert ledger.verdict(ledger.summarise(five_seeds())).startswith(
        "Distilled is better than the baseline over 5 seeds"
    )


def test_a_clear_loss_is_called_worse() -> None:
    results = [make_result(seed, top1=91 - gain, baseline=91.0) for seed, gain in enumerate(GAINS)]
    assert ledger.verdict(ledger.summarise(results)).startswith("Distilled is worse than the baseline over 5 seeds")


def test_every_stage_has_its_spread_and_the_students_their_gain_over_the_baseline() -> None:
    summary = ledger.summarise(five_seeds())
    rows = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in stage_rows(summary)}
    assert list(rows) == ["teach", "baseline", "distill", "finetune", "fix"]
    assert rows["teach"] == ["teacher", "96.83 ± 0.00", "", ""]
    assert rows["baseline"] == ["student", "91.20 ± 0.16", "", ""]
    assert rows["fix"] == ["student", "96.60 ± 0.69", "+5.40 ± 0.55", "2.5e-05"]
    assert summary.stages[-1].test == summary.test


def test_a_stage_on_other_images_than_the_baseline_has_no_gain_and_the_page_says_why(tmp_path: Path) -> None:
    """As in recipes/transfer/digits_from_fashion.yaml, whose first student is trained and evaluated on clothes."""
    stages = {name: {"data": {"val": "digits/val.txt"}} for name in ("teach", "baseline", "distill", "finetune", "fix")}
    plan = {"baseline": "baseline", "stages": {**stages, "distill": {"data": {"val": "clothes/val.txt"}}}}
    results = [{**result, "plan": plan} for result in five_seeds()]
    gains = {stage.name: (stage.gain, stage.test) for stage in ledger.summarise(results).stages}
    assert gains["distill"] == (None, None)
    assert None not in gains["finetune"]
    page = ledger.write_seed_report(results, tmp_path / "page.md").read_text()
    assert "- distill: evaluated on other images, clothes/val.txt\n" in page
    assert page.count("evaluated on other images") == 1


def stage_rows(summary: ledger.Summary) -> list[str]:
    return ledger.stages(summary).splitlines()[2:]


def test_a_published_baseline_is_none_of_the_stages() -> None:
    results = [make_result(seed, plan={"baseline": None}) for seed in range(3)]
    assert all(stage.gain is None and stage.test is None for stage in ledger.summarise(results).stages)


def test_there_is_no_winner_inside_the_noise() -> None:
    text = ledger.verdict(ledger.summarise(noise()))
    assert text.startswith("Distilled and baseline are not distinguishable over 4 seeds: mean gain -0.10 points")
    assert "better" not in text


def test_one_seed_has_no_deviation_and_no_test() -> None:
    summary = ledger.summarise(five_seeds()[:1])
    assert summary.test is None
    assert summary.spreads["gain"].sd is None
    assert "allows no test" in ledger.verdict(summary)
    assert "±" not in ledger.table(summary)


def test_equal_gains_allow_no_test() -> None:
    summary = ledger.summarise([make_result(seed, top1=92.0, baseline=91.0) for seed in range(3)])
    assert summary.test is None
    assert "no paired test" in ledger.verdict(summary)


def test_the_test_images_have_columns_and_a_sentence_of_their_own(tmp_path: Path) -> None:
    results = five_seeds()
    for result, gain in zip(results, (1.0, -0.5, 0.75, -0.25, 0.5), strict=True):
        result |= {"test_top1": 90 + gain, "test_gain": gain}
    summary = ledger.summarise(results)
    heading, _, first, *_ = ledger.table(summary).splitlines()
    assert heading.endswith("| distilled, % | gain, points | test, % | test gain, points | digest |")
    assert "| 91.00 | +1.00 |" in first
    (sentence,) = ledger.tested(summary)
    assert sentence.startswith(
        "On the test images, which no choice has seen, the mean gain is +0.30 points, 95 % inter"
    )
    assert sentence.endswith("; student and baseline are not distinguishable there.")
    assert sentence in ledger.write_seed_report(results, tmp_path / "page.md").read_text()
    assert ledger.tested(ledger.summarise(results[:1])) == [
        "On the test images, which no choice has seen, the mean gain is +1.00 points; no paired test (one seed, or all "
        "gains are equal)."
    ]
    assert ledger.tested(ledger.summarise(five_seeds())) == []


def test_a_published_baseline_allows_no_test() -> None:
    results = five_seeds()
    for result in results:
        result["baseline"]["source"] = "a paper"
    assert ledger.summarise(results).test is None


def test_without_a_baseline_there_is_no_gain() -> None:
    summary = ledger.summarise([make_result(seed, baseline=None) for seed in range(3)])
    assert "gain" not in summary.spreads
    assert ledger.verdict(summary) == "There is no baseline to compare with."
    assert "baseline" not in ledger.table(summary)


def test_why_there_is_no_baseline_and_that_the_student_was_only_trained_are_said(tmp_path: Path) -> None:
    results = [make_result(seed, baseline=None, baseline_missing="the recipe names none") for seed in range(3)]
    for result in results:
        result["student"]["training"] = "trained"
    page = ledger.write_seed_report(results, tmp_path / "some.md")
    text, twin = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "\nThere is no baseline to compare with: the recipe names none.\n" in text
    assert "| seed | teacher, % | trained, % | digest |" in text
    assert "istilled" not in text
    assert twin["spreads"]["trained"]["mean"] == pytest.approx(96.33)
    assert [row["trained"] for row in twin["rows"]] == [96.33] * 3


def test_a_verdict_on_a_plain_training_calls_it_trained() -> None:
    results = five_seeds()
    for result in results:
        result["student"]["training"] = "trained"
    assert ledger.verdict(ledger.summarise(results)).startswith("Trained is better than the baseline over 5 seeds")


@pytest.mark.parametrize("changes", [{"recipe": "other"}, {"scope": "smoke"}, {"group": "b"}])
def test_results_of_different_plans_are_not_compared(changes: dict) -> None:
    results = [make_result(0, group="a"), {**make_result(1, group="a"), **changes}]
    with pytest.raises(RunError, match=f"more than one {next(iter(changes))}"):
        ledger.summarise(results)


def test_a_seed_given_twice_is_refused() -> None:
    with pytest.raises(RunError, match="twice"):
        ledger.summarise([make_result(0), make_result(0)])


def test_the_seed_report_states_what_it_is_made_of(tmp_path: Path) -> None:
    page = ledger.write_seed_report(five_seeds(), tmp_path / "experiments" / "quickstart.md")
    text, twin = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    for part in (
        "n = 5",
        "0, 1, 2, 3, 4",
        "`ssld run recipes/quickstart.yaml --seeds 5`",
        "A processor with a name",
        "p = 2.5e-05",
    ):
        assert part in text
    # One table has a head, five seeds and the mean, the other a head and five stages.
    assert text.count("\n| ") == 7 + 6
    assert twin["test"]["p"] == pytest.approx(2.506e-5, rel=1e-3)
    assert [row["gain"] for row in twin["rows"]] == pytest.approx(GAINS)
    assert twin["spreads"]["gain"]["sd"] == pytest.approx(np.std(GAINS, ddof=1))


def test_the_speed_up_is_the_median_over_seeds_of_the_ratio_of_medians_at_the_smallest_batch(tmp_path: Path) -> None:
    rows = [bench_row("teacher", "paddle", 6.0, 1), bench_row("student", "onednn", 1.0, 1)]
    benches = [
        [*rows, bench_row("student", "paddle", ms, 1), bench_row("student", "paddle", 9.0, 8)] for ms in (1, 2, 3)
    ]
    summary = ledger.summarise([make_result(seed, bench=bench) for seed, bench in enumerate(benches)])
    assert summary.speedups == {"paddle": (3.0, 2.0, 6.0)}
    assert ledger.speedups(summary) == "paddle 3.0 x (2.0 to 6.0)"
    none = ledger.summarise([make_result(0, bench=[])])
    assert ledger.speedups(none) == "not measured"
    page = ledger.write_seed_report([make_result(seed) for seed in range(2)], tmp_path / "some.md").read_text()
    assert "paddle 2.4 x (2.4 to 2.4), onednn 2.8 x (2.8 to 2.8), onnxruntime 5.5 x (5.5 to 5.5)" in page
    assert "longest run: 5.0 minutes" in page


def test_the_page_over_seeds_says_which_speed_ups_were_not_steady_and_what_failed(tmp_path: Path) -> None:
    results = [make_result(seed) for seed in range(2)]
    for row in results[1]["bench"]:
        row["steady"] = row["engine"] != "onednn"
    results[0]["failures"] = {"export": "onnx | differs"}
    page = ledger.write_seed_report(results, tmp_path / "some.md").read_text()
    assert "paddle 2.4 x (2.4 to 2.4), onednn 2.8 x (2.8 to 2.8, not steady), onnxruntime 5.5 x (5.5 to 5.5)" in page
    assert "\n- not steady: the times of a network drifted or spread too much" in page
    assert "\n- seed 0: export failed: onnx \\| differs\n" in page


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nothing\.json"):
        ledger.summarise([tmp_path / "nothing.json"])
