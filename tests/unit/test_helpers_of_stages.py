"""Layers of losses that one stage trains and a later one begins with: FT's paraphraser comes from a stage before."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from ssld.config import baseline, recipe
from ssld.distill import checkpoint
from ssld.distill.networks import build
from ssld.distill.reuse import KnownParts, is_current, lacks, made_of
from ssld.distill.runs import Run
from ssld.distill.state import TrainState
from ssld.distill.teachers import Teachers
from ssld.distill.trial import on_trial, try_stages
from ssld.errors import RecipeError
from ssld.run import run_plan
from ssld.runtime import Runtime
from ssld.track import Options
from tests.unit.some_recipe import changed

HERE = Runtime(rank=0, world=1, gpu=None)
SMALL = "MobileNetV3_small_x0_35"
TREE = {
    "name": "handed",
    "classes": 3,
    "student": {"arch": SMALL},
    "teacher": {"arch": SMALL, "stage": "teach", "norm": "running"},
    "stage": {"data": {"train": ["t.txt"], "val": "v.txt", "size": 32, "batch": 4}, "optim": {"lr": 0.1}, "epochs": 2},
    "stages": {
        "teach": {"network": "teacher", "loss": {"ce": {"unlabelled": "ignore"}}},
        "learn": {"train": "helpers", "loss": {"paraphrase": {}}},
        "plain": {"loss": {"ce": {"unlabelled": "ignore"}}},
        "distill": {
            "loss": {"ce": {"unlabelled": "ignore"}, "ft": {}},
            "helpers": {"ft.paraphraser": "learn.paraphrase"},
        },
    },
}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "helpers",
            {"fd.paraphraser": "learn.paraphrase"},
            "fd.paraphraser: no term named 'fd' in the loss of this stage",
        ),
        ("helpers", {"ft.paraphraser": "lern.paraphrase"}, "no earlier stage named 'lern'; did you mean 'learn'?"),
        (
            "helpers",
            {"ft.paraphraser": "distill.ft"},
            "ft.paraphraser: no earlier stage named 'distill'; give stage.term",
        ),
        ("helpers", {"ft.paraphraser": "learn"}, "no term named '' in the loss of stage 'learn'; it has paraphrase"),
        ("helpers", {"ft.paraphraser": "learn.hint"}, "no term named 'hint' in the loss of stage 'learn'; it has"),
        ("train", "helpers", None),
    ],
)
def test_helpers_that_cannot_be_taken_over_are_refused(path, value, message):
    tree = changed(TREE, f"stages.distill.{path}", value)
    if message is None:  # a stage that trains layers of losses needs a loss that has some
        tree = changed(changed(tree, "stages.distill.loss", {"ce": {}}), "stages.distill.helpers", {})
        message = "stages.distill.train: no loss of this stage has layers of its own; give another value"
    with pytest.raises(RecipeError) as caught:
        recipe.of_mapping(tree)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "stages.distill.helpers",
            {"ft.paraphrasr": "learn.paraphrase"},
            "there is no layer ft.paraphrasr; did you mean",
        ),
        (
            "stages.learn.loss.paraphrase.rate",
            0.25,
            r"'decode\.0\.bias' is \[50\] where it comes from, and \[100\] here",
        ),
        ("stages.distill.helpers", {"ft.paraphraser": "learn.paraphrase.encode"}, "'0.bias' is .* and not there here"),
    ],
)
def test_layers_that_do_not_fit_are_told_before_the_first_stage(path, value, message, tmp_path):
    run = Run.of_plan(recipe.of_mapping(changed(TREE, path, value), smoke=True), tmp_path, HERE)
    with pytest.raises(RecipeError, match=message):
        try_stages([run.stage("distill")], Teachers(run))


def test_a_stage_that_trains_helpers_leaves_the_network_as_it_is():
    plan = recipe.of_mapping(TREE)
    with on_trial(plan, "learn", 2, HERE) as (state, _):
        assert not any(key.startswith(("stem", "stages", "head")) for key, _ in state.named_trained())
        assert {key.split(".")[1] for key, _ in state.named_trained()} == {"paraphrase"}
        assert not state.network.training
        assert all(parameter.stop_gradient for parameter in state.network.parameters())


def test_digests_follow_the_stage_that_hands_on():
    plan, other = (recipe.of_mapping(tree) for tree in (TREE, changed(TREE, "stages.learn.epochs", 1)))
    assert plan.stage_digest("distill") != other.stage_digest("distill")
    assert plan.stage_digest("plain") == other.stage_digest("plain")
    assert "helpers" not in recipe.digested(plan.stages["plain"])
    assert plan.handed_on("learn") == {"paraphrase"}
    assert plan.handed_on("teach") == set()


def test_the_first_stage_counts_among_the_steps_of_the_student():
    plan = recipe.of_mapping(changed(TREE, "baseline", "plain"))
    steps = {"teach": 5, "learn": 40, "plain": 100, "distill": 100}
    remark = baseline.unequal(plan, steps)
    assert remark.startswith("the baseline (plain) has 100 steps, the student (learn + distill) 140")
    assert baseline.unequal(plan, {**steps, "learn": 5}) is None


def test_a_run_begins_with_what_the_stage_before_made_and_again_when_it_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("ssld.run.conclude", lambda run, stages, compared, log: stages)  # the export is not asked
    plan = recipe.of_mapping(TREE, smoke=True)
    begun = []

    def first(state):
        begun.append({key: value.numpy() for key, value in state.step.helpers.state_dict().items()})
        return real(state)

    real = TrainState.restore
    monkeypatch.setattr(TrainState, "restore", first)
    run_plan(plan, tmp_path, HERE, Options(wandb="disabled"))
    run = Run.of_plan(plan, tmp_path, HERE)
    learn, distill = run.stage("learn"), run.stage("distill")
    handed = load_file(learn.helpers_file)
    assert {key.partition(".")[0] for key in handed} == {"paraphrase"}
    ended = checkpoint.load(learn.folder).tensors["helpers"]
    assert {key: value.tobytes() for key, value in handed.items()} == {
        key: value.tobytes() for key, value in ended.items()
    }
    names = {key: key.replace("paraphrase.", "ft.paraphraser.", 1) for key in handed}
    assert all(begun[-1][names[key]].tobytes() == value.tobytes() for key, value in handed.items())
    assert any(np.abs(begun[1][key] - value).max() > 0 for key, value in handed.items()), "the first stage trained it"
    after = checkpoint.load(distill.folder).tensors["helpers"]
    assert all(after[names[key]].tobytes() == value.tobytes() for key, value in handed.items()), "it stays as it is"
    # the student of the first stage is the fresh one
    fresh = build(plan, "student", 32).state_dict()
    assert {key: v.tobytes() for key, v in load_file(learn.model_file).items()} == {
        key: v.numpy().tobytes() for key, v in fresh.items()
    }
    assert "weights of stage learn, layers of losses" in made_of(distill)
    assert is_current(distill, "equal", KnownParts())
    learn.helpers_file.write_bytes(learn.helpers_file.read_bytes()[:-4])
    assert lacks(learn, learn.folder) == "helpers.safetensors is damaged (sha256)"
    assert not is_current(learn, "equal", KnownParts())
