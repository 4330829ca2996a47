"""`ssld show METHOD`: what is known of it; and with a recipe, what its terms read, train and cost there."""

import pytest

from ssld import models
from ssld.commands.show import show
from ssld.config import recipe
from ssld.distill.terms import facts_of_terms
from ssld.errors import RecipeError
from tests.unit.some_recipe import TREE, changed, written

STUDENT, TEACHER, BATCH = 1280, 512, 8  # numbers of the embeddings of TREE's networks; images of a step


def shown(folder, method, loss, *overrides):
    """The facts of a method in TREE with another loss, of the stages alone."""
    recipe = written(folder, changed(TREE, "stages.finetune.loss", loss))
    return show(name=method, overrides=[str(recipe), *overrides], smoke=False).tree["stages"]


def test_a_method_shows_what_its_class_says():
    facts = show(name="reviewkd", overrides=[], smoke=False)
    assert facts.tree["kind"] == "feature"
    assert facts.tree["paper"] == {
        "title": "Distilling Knowledge via Knowledge Review",
        "year": 2021,
        "arxiv": "2104.09044",
    }
    assert facts.tree["options"]["width"] == "integer from 1 to 1,000,000 | null = None"
    assert "stages" not in facts.tree
    assert "  arxiv: 2104.09044\n" in facts.text
    assert max(len(line) for line in facts.text.splitlines()) <= 100 + len("formula")
    assert facts.tree["use"] in " ".join(facts.text.split())
    assert show(name="kdcl", overrides=[], smoke=False).tree["golden"]["none"].startswith("There is no official code")


def test_a_method_that_is_a_recipe_says_what_a_recipe_writes():
    facts = show(name="hard_label", overrides=[], smoke=False)
    assert facts.tree["losses"] == ["ce", "soft_ce"]
    assert facts.tree["recipes"] == ["recipes/methods/deit_head.yaml"]
    assert "written: loss: {ce: {weight: 0.5}, soft_ce: {hard: true, weight: 0.5}}" in facts.text


def test_an_optimiser_is_a_method_too():
    assert show(name="dot", overrides=[], smoke=False).tree["needs"].keys() == {"two gradients"}


def test_a_recipe_adds_taps_shapes_layers_and_what_is_exported(tmp_path):
    stages = shown(tmp_path, "srd", {"ssld": {}, "simple": {"kind": "srd", "weight": 2.0}})
    assert stages.keys() == {"finetune"}
    stage = stages["finetune"]
    assert stage["images"] == BATCH
    assert stage["trains"]["network"] == "MobileNetV3_small_x0_35"
    assert stage["exported"].startswith(f"the network alone, {stage['trains']['parameters']} parameters")
    assert stage["terms"] == {
        "simple": {
            "weight": 2.0,
            "student": {"embedding": [STUDENT]},
            "teacher": {"embedding": [TEACHER]},
            "helpers": {  # one linear layer
                "parameters": STUDENT * TEACHER + TEACHER,
                "multiply_adds": STUDENT * TEACHER * BATCH,
            },
        }
    }


def test_the_last_stage_alone_is_exported(tmp_path):
    recipe = written(tmp_path, changed(TREE, "stages.distill.loss", {"dkd": {"unlabelled": "ignore"}}))
    stage = show(name="dkd", overrides=[str(recipe)], smoke=False).tree["stages"]["distill"]
    assert stage["exported"] == "nothing of this stage; stage finetune is the last one"
    assert stage["terms"]["dkd"]["helpers"] is None
    assert stage["terms"]["dkd"]["batch"] == ["label"]


def test_layers_are_those_of_the_run_whose_batch_they_depend_on(tmp_path):
    loss = {"semckd": {"student": ["stage4"], "teacher": ["stage4"]}}

    def parameters(batch):
        stages = shown(tmp_path, "semckd", loss, f"stages.finetune.data.batch={batch}")
        return stages["finetune"]["terms"]["semckd"]["helpers"]["parameters"]

    def readers(n):
        """Two networks read the rows of a batch of n, by a linear layer to n / 2 numbers, and one to n / 4."""
        return 2 * (n * (n // 2) + n // 2 + (n // 2) * (n // 4) + n // 4)

    assert parameters(16) - parameters(8) == readers(16) - readers(8)


def test_weights_that_a_loss_reads_are_named(tmp_path):
    terms = shown(tmp_path, "wkd_l", {"wkd_l": {"unlabelled": "ignore"}})["finetune"]["terms"]
    assert terms["wkd_l"]["weights"] == {"teacher": ["classifier"]}


def test_an_optimiser_in_a_recipe_shows_every_term_and_its_side(tmp_path):
    tree = changed(TREE, "stages.finetune.optim.algorithm", "dot")
    recipe = written(tmp_path, changed(tree, "stages.finetune.loss", {"ce": {}, "kl": {}}))
    terms = show(name="dot", overrides=[str(recipe)], smoke=False).tree["stages"]["finetune"]["terms"]
    assert {name: term["side"] for name, term in terms.items()} == {"ce": "task", "kl": "distil"}
    with pytest.raises(RecipeError, match=r"no stage has the optimiser dot; write optim: .algorithm: dot"):
        show(name="dot", overrides=["quickstart"], smoke=False)


def test_a_recipe_without_the_method_is_refused(tmp_path):
    with pytest.raises(
        RecipeError, match=r"some: no stage has a term of the kind at; add at: \{weight: 1\.0\} to the loss"
    ):
        shown(tmp_path, "at", {"ssld": {}})


def test_a_name_that_nothing_has_brings_the_nearest_method():
    with pytest.raises(RecipeError, match="reviewkd"):
        show(name="review_kd", overrides=[], smoke=False)


def test_the_end_of_a_network_and_its_peers_are_counted_and_told():
    plan = recipe.load("methods/simkd_head")
    stage = facts_of_terms(plan, "simkd")["distill"]
    assert stage["trains"]["network"] == "MobileNetV3_small_x0_35+ResNet18_vd"
    params = stage["trains"]["parameters"]
    assert stage["exported"] == f"the network with its teacher head, {params} parameters; no layer of a loss"
    assert stage["terms"]["simkd"]["helpers"] is None
    stage = facts_of_terms(recipe.load("methods/kdcl"), "kdcl")["distill"]
    larger = models.create("MobileNetV3_large_x0_35", num_classes=10, in_size=28)
    assert stage["peers"]["second"]["parameters"] == models.parameters(larger)
    assert stage["exported"].endswith("no layer of a loss, and no peer")
