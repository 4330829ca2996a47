"""Sweeps: what a file may say, which trials it means, what W&B is handed, and how a sweep runs here."""

import csv
import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssld import cli, processes
from ssld import trials as trial_runs
from ssld.commands import sweep as runner
from ssld.config import sweep
from ssld.errors import RecipeError, RunError
from ssld.plans import load_plan
from ssld.processes import RunOptions
from ssld.report.summary import names, summary
from ssld.report.trials import write_trials
from tests.unit.fake_run import bench_row, bench_rows, make_result
from tests.unit.some_recipe import TREE, written

LR, BATCH = "stages.distill.optim.lr", "stage.data.batch"
EXAMPLES = sorted((Path(__file__).parents[2] / "recipes" / "sweeps").glob("*.yaml"))


def loaded(folder: Path, **changes: Any) -> sweep.Sweep:
    tree = {"recipe": "quickstart", "method": "grid", "parameters": {LR: {"values": [0.05, 0.1]}}, **changes}
    return sweep.load(str(written(folder, {key: value for key, value in tree.items() if value is not None}, "s.yaml")))


def drawn(folder: Path, parameter: dict[str, Any], count: int, seed: int = 0) -> list[Any]:
    spec = loaded(folder, method="random", parameters={LR: parameter})
    return [trial[LR] for trial in sweep.trials(spec, count, seed)]


def test_a_grid_is_every_combination_in_order_the_last_key_fastest(tmp_path: Path) -> None:
    parameters = {"a": {"values": [1, 2]}, "b": {"value": "off"}, "c": {"min": 3, "max": 5}}
    spec = loaded(tmp_path, parameters=parameters)
    found = [tuple(trial.values()) for trial in sweep.trials(spec, None, 0)]
    assert found == [(1, "off", 3), (1, "off", 4), (1, "off", 5), (2, "off", 3), (2, "off", 4), (2, "off", 5)]
    assert [tuple(trial.values()) for trial in sweep.trials(spec, 2, 0)] == found[:2]


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        ({"value": True}, "constant"),
        ({"values": [1]}, "categorical"),
        ({"min": 1, "max": 4}, "int_uniform"),
        ({"min": 1.0, "max": 4}, "uniform"),
        ({"min": 1, "max": 4, "distribution": "uniform"}, "uniform"),
        ({"min": 1, "max": 9, "q": 2, "distribution": "q_uniform"}, "q_uniform"),
        ({"min": 0.1, "max": 1, "distribution": "log_uniform_values"}, "log_uniform_values"),
    ],
)
def test_a_parameter_without_a_distribution_has_the_one_that_wandb_reads_into_it(
    tmp_path: Path, parameter: dict[str, Any], kind: str
) -> None:
    spec = loaded(tmp_path, method="random", parameters={LR: parameter})
    assert spec.parameters[LR].kind == kind


def test_random_trials_follow_from_the_seed_and_a_larger_count_goes_on(tmp_path: Path) -> None:
    uniform = {"min": 0.0, "max": 1.0}
    first = drawn(tmp_path, uniform, 5)
    assert drawn(tmp_path, uniform, 8)[:5] == first
    assert drawn(tmp_path, uniform, 5, seed=1) != first
    assert first == [0.342684, 0.75579, 0.773251, 0.714942, 0.505319]  # of Python's own generator: on every machine


def test_log_uniform_values_are_uniform_in_their_logarithm(tmp_path: Path) -> None:
    values = drawn(tmp_path, {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"}, 2000)
    assert 1e-4 <= min(values) < max(values) <= 1.0
    shares = [sum(low <= math.log10(value) < low + 1 for value in values) / 2000 for low in (-4, -3, -2, -1)]
    assert shares == pytest.approx([0.25] * 4, abs=0.04)


def test_q_uniform_values_are_multiples(tmp_path: Path) -> None:
    assert set(drawn(tmp_path, {"min": 0.1, "max": 0.5, "q": 0.1, "distribution": "q_uniform"}, 5)) == {
        0.1, 0.2, 0.3, 0.4, 0.5
    }  # fmt: skip
    whole = drawn(tmp_path, {"min": 16, "max": 64, "q": 16, "distribution": "q_uniform"}, 4)
    assert sorted(whole) == [16, 32, 48, 64]
    assert all(isinstance(value, int) for value in whole)


def test_a_small_space_gives_each_trial_once(tmp_path: Path) -> None:
    assert sweep.trials(loaded(tmp_path, parameters={LR: {"values": [1, 2, 1]}}), None, 0) == [{LR: 1}, {LR: 2}]
    assert sorted(drawn(tmp_path, {"values": [1, 2, 3]}, 10)) == [1, 2, 3]
    assert sorted(drawn(tmp_path, {"min": 2, "max": 4}, 10)) == [2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "bayes"}, "method: Input should be 'grid' or 'random'; got 'bayes'"),
        ({"metod": "grid"}, "metod: unknown key; did you mean 'method'?"),
        ({"recipe": None}, "recipe: this key is required; add it"),
        ({"metric": {"name": "top1", "gaol": "minimize"}}, "metric.gaol: unknown key; did you mean 'goal'?"),
        ({"metric": {"name": "test_top1"}}, "metric.name: trials are compared on validation images, and test images"),
        ({"parameters": {}}, "parameters: a sweep needs at least one; name a key of the recipe"),
        ({"parameters": {LR: {}}}, f"parameters.{LR}: uniform takes max and min; got none"),
        ({"parameters": {LR: {"values": []}}}, f"parameters.{LR}.values: should have 1 or more entries; got []"),
        (
            {"parameters": {LR: {"value": 1, "values": [2]}}},
            f"parameters.{LR}: constant takes value; got value, values",
        ),
        ({"parameters": {LR: {"values": [None]}}}, f"parameters.{LR}: None cannot stand on a command line"),
        ({"parameters": {LR: {"min": 0.1, "max": 1}}}, f"parameters.{LR}: a grid cannot hold every value of uniform"),
        ({"parameters": {LR: {"min": 4, "max": 1}}}, f"parameters.{LR}: min 4 is not below max 1"),
        (
            {"method": "random", "parameters": {LR: {"min": 0, "max": 1, "distribution": "log_uniform_values"}}},
            f"parameters.{LR}.min: a logarithm needs more than 0; got 0",
        ),
        (
            {"method": "random", "parameters": {LR: {"min": 0, "max": 1, "distribution": "q_uniform", "q": 0}}},
            f"parameters.{LR}.q: should be a number above 0, at most 1,000,000,000,000; got 0",
        ),
    ],
)
def test_a_file_that_means_nothing_is_one_line(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(tmp_path, **changes)
    assert str(caught.value).startswith(f"{tmp_path / 's.yaml'}: {told}")
    assert "\n" not in str(caught.value)


def test_random_without_a_count_is_an_error(tmp_path: Path) -> None:
    spec = loaded(tmp_path, method="random", parameters={LR: {"min": 0.1, "max": 1.0}})
    with pytest.raises(RecipeError, match=r"method random has no end; give --count N$"):
        sweep.trials(spec, None, 0)


def test_a_sweep_that_is_not_there_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"^quickstart_rl: no such sweep; did you mean 'quickstart_lr'\?$"):
        sweep.load("quickstart_rl")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_sweep_of_the_shelf_holds_and_is_found_by_its_name(file: Path) -> None:
    spec = sweep.load(file.stem)
    assert spec == sweep.load(str(file))
    assert runner._plans(spec, sweep.trials(spec, 4, 0), smoke=False)


def swept(*words: str) -> Any:
    """The result of `ssld sweep`, typed with these words."""
    return runner.sweep(**cli.options(cli._parse(["sweep", *words])))


def some_sweep(folder: Path, **changes: Any) -> str:
    """A sweep of `some.yaml` in the folder."""
    recipe = written(folder, TREE)
    tree = {"recipe": str(recipe), "method": "grid", "parameters": {LR: {"values": [0.05, 0.2, 0.1]}}, **changes}
    return str(written(folder, tree, "lr.yaml"))


def test_what_the_agent_of_wandb_types_is_a_run_of_the_trial(tmp_path: Path) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    values = {LR: 0.2, "stages.distill.optim.nesterov": True, "stages.distill.data.augment.area": [0.3, 1.0]}
    file = some_sweep(tmp_path, parameters={key: {"values": [value]} for key, value in values.items()})
    result = swept(file, "--out", str(tmp_path / "w"), "--count", "7", "--wandb-tags", "a,b")
    tree = yaml.safe_load(Path(result["sweep"]).read_text())
    assert (tree["method"], tree["metric"], tree["run_cap"]) == ("grid", {"name": "top1", "goal": "maximize"}, 7)
    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    macros["program"] = [tree["program"]]
    words = [
        word for part in tree["command"] for word in (macros[part[2:-1]] if part.startswith("${") else [str(part)])
    ]
    assert words[0] == "ssld"
    args = cli._parse(words[1:])
    assert (args.command, args.wandb, args.wandb_tags) == ("run", "online", ("a", "b"))
    optim = load_plan(args.recipe, args.overrides).stages["distill"].optim
    assert (optim.lr, optim.nesterov) == (0.2, True)
    assert load_plan(args.recipe, args.overrides) == load_plan(args.recipe, sweep.overrides(values))


def test_the_file_for_wandb_replaces_its_older_self_and_nothing_else(tmp_path: Path) -> None:
    words = (some_sweep(tmp_path), "--out", str(tmp_path / "w"))
    file = Path(swept(*words)["sweep"])
    first = file.read_text()
    assert Path(swept(*words)["sweep"]).read_text() == first
    file.write_text("mine: 1\n")
    with pytest.raises(RunError, match="was not written by `ssld sweep`; move it away"):
        swept(*words)
    assert file.read_text() == "mine: 1\n"


@pytest.mark.parametrize("local", [[], ["--local"]], ids=["wandb", "local"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"stages.distill.optim.lrr": {"value": 1}}}, "no key 'lrr'; did you mean 'lr'?"),
        (
            {"parameters": {LR: {"values": [0.1, -1]}}},
            "distill.optim.lr: should be a number above 0, at most 1,000; got -1",
        ),
        ({"metric": {"name": "top11"}}, "no number of a finished run is named 'top11'; did you mean 'top1'?"),
    ],
    ids=["key", "value", "metric"],
)
def test_a_sweep_that_cannot_run_stops_before_its_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str, local: list[str]
) -> None:
    monkeypatch.setattr(trial_runs, "call", lambda *_: pytest.fail("a trial was started"))
    file = some_sweep(tmp_path, **changes)
    with pytest.raises(RecipeError) as caught:
        swept(file, "--out", str(tmp_path / "w"), *local)
    assert message in str(caught.value)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("local", [[], ["--local"]], ids=["wandb", "local"])
def test_a_sweep_on_the_gain_of_a_recipe_without_a_baseline_stops_before_its_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: list[str]
) -> None:
    monkeypatch.setattr(trial_runs, "call", lambda *_: pytest.fail("a trial was started"))
    recipe = str(written(tmp_path, {key: value for key, value in TREE.items() if key != "baseline"}, "none.yaml"))
    file = some_sweep(tmp_path, recipe=recipe, metric={"name": "gain"})
    with pytest.raises(RecipeError) as caught:
        swept(file, "--out", str(tmp_path / "w"), *local)
    assert str(caught.value) == (
        f"lr: metric.name: a run of {recipe} has no gain, as it has no baseline: the recipe names none, and the card's "
        "published number is of ImageNet's 1,000 classes, not of these 10; name a stage as `baseline:`, or sort by top1"
    )
    assert not (tmp_path / "w").exists()
    spec = sweep.load(some_sweep(tmp_path, metric={"name": "gain"}))
    assert len(runner._plans(spec, sweep.trials(spec, None, 0), smoke=True)) == 3  # this one names a stage


def test_the_page_of_a_sweep_says_that_a_trial_has_no_gain(tmp_path: Path) -> None:
    about = {"name": "x", "recipe": "r", "method": "grid", "metric": "top1", "goal": "maximize", "trials": 1}
    about |= {"scope": "full", "command": "c", "hardware": ["h"]}
    row = {"trial": 1, "top1": 9.0, "gain": None, "state": "finished", "digest": "d"}
    said = "- gain `-`: the run has no baseline to compare with; its report says why"
    assert said in write_trials([row], tmp_path / "x.md", about).read_text().splitlines()
    failed = {**row, "trial": 2, "top1": None, "state": "failed"}
    assert said not in write_trials([row | {"gain": 1.0}, failed], tmp_path / "y.md", about).read_text()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Runs without training: top-1 is 50 + 100 lr, and a learning rate of 0.2 makes the loss NaN. What was typed."""
    typed: list[tuple[str, ...]] = []

    def run_alone(recipe: str, overrides: list[str], out: Path, options: RunOptions) -> int:
        typed.append((recipe, *overrides, *options.wandb_tags))
        plan = load_plan(recipe, overrides)
        rate = plan.stages["distill"].optim.lr
        if rate == 0.2:
            return 1
        result = make_result(top1=50 + 100 * rate, digest=plan.digest, recipe=plan.name)
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(json.dumps(result))
        return 0

    monkeypatch.setattr(trial_runs, "command_of_run", lambda *arguments: arguments)
    monkeypatch.setattr(trial_runs, "call", lambda arguments: run_alone(*arguments))
    return typed


def test_a_local_sweep_goes_on_past_a_trial_that_fails_and_sorts_the_others(
    tmp_path: Path, trained: list[tuple[str, ...]]
) -> None:
    file = some_sweep(tmp_path)
    places = ["--out", str(tmp_path / "runs"), "--experiments", str(tmp_path / "experiments")]
    result = swept(file, "--local", "--wandb-tags", "night", *places)
    assert [typed[1:] for typed in trained] == [(f"{LR}={lr}", "night", "sweep-lr") for lr in (0.05, 0.2, 0.1)]
    rows = [(row["trial"], row[LR], row["top1"], row["state"]) for row in result["rows"]]
    assert rows == [(3, 0.1, 60.0, "finished"), (1, 0.05, 55.0, "finished"), (2, 0.2, None, "failed")]
    kept = tmp_path / "experiments" / "sweeps"
    assert len(list(kept.glob("results/some/*.json"))) == 2
    page = (kept / "lr.md").read_text()
    assert "# lr: 3 of 3 trials" in page
    assert [line.split(" | ")[1] for line in page.splitlines() if line.startswith(("| 1", "| 2", "| 3"))] == [
        "0.1", "0.05", "0.2"
    ]  # fmt: skip
    assert f"`ssld sweep {file} --local`" in page
    with (kept / "lr.csv").open(newline="") as stream:
        assert [row["trial"] for row in csv.DictReader(stream)] == ["3", "1", "2"]
    assert json.loads((kept / "lr.json").read_text())["rows"] == result["rows"]


def test_a_metric_to_minimise_puts_the_smallest_first(tmp_path: Path, trained: list[tuple[str, ...]]) -> None:
    metric = {"name": "top1", "goal": "minimize"}
    places = ["--out", str(tmp_path / "runs"), "--experiments", str(tmp_path / "e")]
    result = swept(some_sweep(tmp_path, metric=metric), "--local", *places)
    assert [row["trial"] for row in result["rows"]] == [1, 3, 2]


def test_a_sweep_of_which_no_trial_finished_is_an_error(tmp_path: Path, trained: list[tuple[str, ...]]) -> None:
    file = some_sweep(tmp_path, parameters={LR: {"value": 0.2}})
    with pytest.raises(RunError, match=r"^lr: none of 1 trials finished; run one of them alone to see why$"):
        swept(file, "--local", "--out", str(tmp_path / "runs"), "--experiments", str(tmp_path / "e"))


def test_a_process_of_its_own_gets_every_option_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[str] = []
    monkeypatch.setattr(processes, "call", lambda command: given.extend(command) or 0)
    options = RunOptions(
        ranks="2",
        device="cpu",
        wandb="disabled",
        wandb_project="p",
        wandb_tags=("a", "b"),
        tensorboard=True,
        smoke=True,
    )
    processes.run_alone("quickstart", [f"{LR}=0.1"], tmp_path, options)
    run = cli._parse(given[3:])
    assert {field.name: getattr(run, field.name) for field in fields(options)} == asdict(options)
    assert (run.recipe, run.overrides, run.out) == ("quickstart", [f"{LR}=0.1"], str(tmp_path))


def test_every_number_of_a_summary_may_be_a_metric() -> None:
    plan = load_plan("quickstart", [])
    values = summary(make_result())
    assert set(values) <= set(names(plan))
    assert (values["top1"], values["gain"], values["teacher_top1"]) == (96.33, pytest.approx(5.16), 96.83)
    assert values["speedup/onnxruntime"] == pytest.approx(1.7 / 0.31, rel=1e-3)
    assert (values["nll"], values["ece"], values["distill/loss"]) == (0.1234, 2.34, 0.2)
    bare = names(load_plan("quickstart", ["export.formats=[]"]))
    assert {"top1", "distill/loss"} <= set(bare)
    assert not [name for name in bare if name.startswith("speedup/") or name.endswith("p50_ms")]


def test_precisions_of_one_engine_are_told_apart() -> None:
    rows = [*bench_rows(), bench_row("student", "onnxruntime", 0.62, 1) | {"precision": "int8"}]
    values = summary(make_result(bench=rows))
    assert values["student/onnxruntime/p50_ms"] == 0.31
    assert values["student/onnxruntime-int8/p50_ms"] == 0.62
    assert values["speedup/onnxruntime"] == pytest.approx(1.7 / 0.31)
    assert values["speedup/onnxruntime-int8"] == pytest.approx(1.7 / 0.62)  # the teacher has no int8: its float32
    assert set(values) <= set(names(load_plan("quickstart", [])))
