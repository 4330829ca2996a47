"""docs/which_method.md asked for its verdicts, from grids whose numbers are planted."""

from pathlib import Path

import numpy as np
import pytest

from ssld.cli import main
from ssld.errors import RunError
from ssld.report import grid_results, which_method

SEEDS = 6
SHIFT = {"kl": 0.0, "plain": -3.0, "ssld": 0.0, "dkd": 2.0, "at": -0.02, "ft": 0.01, "dml": -2.0, "kl of dkd": 1.0}
PAIR = "residual_to_mobile"


def planted(shift=SHIFT, pairs=(PAIR,), seeds=SEEDS, **changes):
    """Rows of `recipes/grids/digits.yaml`: noise of 0.2 points, and what each method adds to it."""
    generator, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        for pair in pairs:
            for method, points in shift.items():
                noise = generator.normal(0, 0.2)
                row = {
                    "pair": pair, "method": method, "mode": "default", "seed": seed,
                    "top1": 90 + seed / 10 + points + noise, "best": 95.0,
                    "test_top1": None, "epochs": 20.0, "steps": 360, "params": 397764, "start": f"start{seed}",
                    "teacher": "" if method in ("plain", "dml") else "0123", "digest": "ab", "hardware": "two cores",
                }  # fmt: skip
                rows.append({**row, **changes})
    return rows


@pytest.fixture
def experiments(tmp_path):
    (tmp_path / "docs").mkdir()
    grid_results.write(tmp_path / "experiments/grids/digits.csv", planted())
    return tmp_path / "experiments"


def test_a_difference_is_one_only_where_all_methods_of_the_pair_are_counted(experiments):
    (measured,) = which_method.load(experiments)
    found = {name: one.verdict for name, one in measured.compared(PAIR).items()}
    assert found == {
        "plain": "worse", "ssld": "not told apart", "dkd": "better", "at": "not told apart", "ft": "not told apart",
        "dml": "worse",
    }  # fmt: skip
    assert "kl of dkd" not in measured.methods
    for one in measured.compared(PAIR).values():
        assert one.p >= one.test.p
        assert one.seeds == SEEDS
    assert measured.companion(PAIR, "dkd").mean == pytest.approx(1.0, abs=0.4)
    assert measured.companion(PAIR, "at") is None


def test_the_page_says_what_was_found_and_is_known_to_be_stale(experiments, capsys):
    main(["report", "methods", "--out", str(experiments)])
    page = experiments.parent / "docs/which_method.md"
    text = page.read_text()
    assert "- **better than `kl`**: `dkd` on 1 of 1 pair." in text
    assert "- **worse than `kl`**: `plain` on 1 of 1 pair, `dml` on 1 of 1 pair." in text
    assert "- **not told apart on every pair**: `ssld`, `at`, `ft`." in text
    assert "7 methods, 1 pair of networks, 6 seeds, 48 runs. Top-1 is of the validation images." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| `dkd` |")]
    assert row.split("|")[3].strip().startswith("**+")
    assert "With one pair, or with fewer than three methods, there is no test of ranks." in text
    main(["report", "methods", "--check", "--out", str(experiments)])
    grid_results.write(experiments / "grids/digits.csv", planted({**SHIFT, "dkd": 5.0}))
    with pytest.raises(SystemExit, match=r"which_method.md: is not what .* says now; `ssld report methods` writes it"):
        main(["report", "methods", "--check", "--out", str(experiments)])


def test_tuned_runs_are_compared_among_themselves(experiments):
    tuned = planted({"kl": 1.0, "dkd": 1.0, "at": 3.0}, mode="tuned")
    grid_results.write(experiments / "grids/digits.csv", [*planted(), *tuned])
    (measured,) = which_method.load(experiments)
    assert measured.compared(PAIR)["dkd"].verdict == "better"
    assert {name: one.verdict for name, one in measured.tuned.compared(PAIR).items()} == {
        "dkd": "not told apart", "at": "better",
    }  # fmt: skip
    text = which_method.write(experiments).read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| `at` |")]
    assert row.split("|")[4].strip().startswith("**+")
    assert (measured.change("kl"), measured.change("ssld")) == ("-", "-")


def test_numbers_of_test_images_are_shown_where_every_run_has_them(experiments):
    grid_results.write(experiments / "grids/digits.csv", planted(test_top1=50.0))
    (measured,) = which_method.load(experiments)
    assert measured.number == "test_top1"
    assert all(one.verdict == "not told apart" for one in measured.compared(PAIR).values())


@pytest.mark.parametrize(
    ("column", "value"), [("start", "another"), ("steps", 361), ("teacher", "9876")], ids=["start", "steps", "teacher"]
)
def test_a_run_that_was_not_fair_is_refused(experiments, column, value):
    rows = planted()
    rows[3] = {**rows[3], column: value}
    grid_results.write(experiments / "grids/digits.csv", rows)
    said = f"^digits: {PAIR}, dkd, seed 0: {column} is not that of kl; `ssld grid` runs what is missing$"
    with pytest.raises(RunError, match=said):
        which_method.load(experiments)


def test_a_table_without_its_grid_is_named(experiments):
    grid_results.write(experiments / "grids/no_such_grid.csv", planted())
    with pytest.raises(RunError, match=r"no_such_grid.csv: there is no recipes/grids/no_such_grid.yaml; remove one"):
        which_method.load(experiments)


def test_a_damaged_table_is_named(experiments):
    (experiments / "grids/digits.csv").write_text("pair,method\na,b\n")
    with pytest.raises(RunError, match=r"digits.csv: .*`ssld grid` writes it anew"):
        which_method.load(experiments)


def test_the_committed_page_is_what_the_recorded_grids_say():
    root = Path(__file__).parents[2]
    assert which_method.check(root / "experiments") == root / "docs/which_method.md"


def test_a_page_without_runs_says_so(tmp_path):
    (tmp_path / "docs").mkdir()
    assert "**No runs are recorded yet.**" in which_method.write(tmp_path / "experiments").read_text()
