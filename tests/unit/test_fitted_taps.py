"""Default taps: which stages of residual, plain and mobile networks a method compares, where a recipe names none."""

import dataclasses
import math
import re

import numpy as np
import paddle
import pytest

from ssld import models, yaml_text
from ssld.commands.show import show
from ssld.config import recipe, run_folder
from ssld.distill.stage import train_step
from ssld.distill.step import shapes, weights_of
from ssld.distill.trial import IMAGES, on_trial
from ssld.errors import RecipeError, SsldError
from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.objective import Objective
from ssld.losses.overview import methods
from ssld.losses.registry import built_in
from ssld.losses.stages import in_pairs, stages_of
from ssld.losses.terms import fitted
from ssld.models import outputs_of
from ssld.runtime import Runtime
from tests.unit.some_recipe import TREE, changed, written

TAKEN = "have no tap before an activation and are taken as they are"

CLASSES, ROWS = 10, 4
ALONE = Runtime(rank=0, world=1, gpu=None)
OF_TAPS = [
    method.name
    for method in methods()
    if "features" in method.needs and not {"views", "teachers", "peers"} & {*method.needs}
]
TOKENS = {"vitkd": "block1"}  # the networks of the zoo have maps
CHANNELS = {"fsp": "it needs maps .* of equal C"}
NO_MARGIN = {"ofd": "is no map before an activation, and only such a map has a margin; name taps such as"}
NO_NORM = {"ofd": r"a loss reads the weights of its stage\d.norm, and it does not say which layer that is"}
WIDENED = {"catkd": "the classifier takes .* numbers, and the tap has"}  # layers between last map and classifier

PAIRS = {  # student, teacher, pixels -> what is refused, beside the tokens, and in which words
    ("ResNet18_vd", "ResNet34_vd", 64): {},
    ("MobileNetV1_x0_25", "ResNet18_vd", 64): CHANNELS,
    ("MobileNetV2_x0_25", "ResNet18_vd", 64): CHANNELS,
    ("MobileNetV3_small_x0_35", "ResNet18_vd", 64): CHANNELS | WIDENED,
    ("MobileNetV3_large_x0_35", "ResNet18_vd", 64): CHANNELS | WIDENED,
    ("ShuffleNetV2_x0_25", "ResNet18_vd", 64): CHANNELS,
    ("MobileNetV3_small_x0_35", "MobileNetV2_x0_25", 64): CHANNELS | WIDENED | NO_MARGIN,
    ("MobileNetV1_x0_25", "VGG11", 32): CHANNELS | WIDENED | NO_MARGIN,
    ("VGG11", "ResNet18_vd", 32): CHANNELS | WIDENED,
    ("resnet20", "resnet56", 32): {},
    ("resnet8x4", "resnet32x4", 32): {},
    ("wrn_16_1", "wrn_40_1", 32): {},
    ("vgg8", "vgg13", 32): {},
    ("vgg8", "resnet56", 32): CHANNELS,
    ("MobileNetV2_cifar_x0_5", "vgg13", 32): CHANNELS,
    ("ShuffleNetV1_cifar", "resnet32x4", 32): CHANNELS,
    ("ShuffleNetV2_cifar", "wrn_40_1", 32): CHANNELS,
    ("resnet20", "SE_ResNet18_vd", 32): CHANNELS | NO_NORM,
}

EVERY_DAY = {"MobileNetV2_x0_25", "resnet20", "wrn_16_1", "vgg8", "ShuffleNetV2_cifar"}  # students, one of each kind
QUICK = {pair for pair in PAIRS if pair[0] in EVERY_DAY and pair[1] != "vgg13"}


def made(arch, size, seed):
    """(network, the shapes of its taps)"""
    paddle.seed(seed)
    network = models.create(arch, num_classes=CLASSES, in_size=size)
    return network, shapes(network, [*network.taps, "logits"], size)


def asked(network, images, stop_gradient):
    """Every output of a network, each with or without a gradient of its own, and the weights that it names."""
    with paddle.no_grad():
        outputs = Outputs(outputs_of(network, images, network.taps))
    for value in outputs.values():
        value.stop_gradient = stop_gradient
    return outputs


def one_step(name, student, teacher, images, outputs):
    """Let a loss at its defaults make its layers and train them and the student's outputs by one step."""
    (network, own), (taught, others) = student, teacher
    terms, _ = fitted(build_terms({name: {}}), own, others)
    objective, size, reads = Objective(terms), images.shape[-1], terms[name].loss.reads
    about = About(
        student=shapes(network, reads.student, size), teacher=shapes(taught, reads.teacher, size),
        classes=CLASSES, images=16, labels=np.arange(16) % CLASSES, steps=4,
        steps_per_epoch=2, micro=ROWS, world=1, seed=0,
    )  # fmt: skip
    helpers = objective.helpers(lambda _: about)
    given, known = (Outputs(some) for some in outputs)
    given.weights = weights_of(network, reads.weights.get("student", ()))
    known.weights = weights_of(taught, reads.weights.get("teacher", ()))
    batch = {"image": images, "label": paddle.arange(ROWS), "index": paddle.arange(ROWS), "step": 0, "epoch": 1}
    loss, _ = objective(given, known, batch, helpers)
    for value in given.values():
        value.clear_gradient()
    loss.backward()
    layers = [
        parameter for layer in helpers.values() for parameter in layer.parameters() if not parameter.stop_gradient
    ]
    assert math.isfinite(float(loss))
    assert all(parameter.grad is not None for parameter in layers)
    reached = [value for key, value in given.items() if key in reads.student and value.grad is not None]
    assert reached or name == "paraphrase"
    assert all(np.isfinite(value.grad.numpy()).all() for value in [*reached, *layers])
    if layers:
        paddle.optimizer.SGD(0.1, parameters=layers).step()


def of(pair):
    """Return a pair as a parameter; `make test` asks one of each kind of network, `make test-smoke` all."""
    return pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.smoke])


@pytest.mark.parametrize(("student", "teacher", "size"), [of(pair) for pair in PAIRS])
def test_every_method_of_taps_trains_with_its_defaults_or_says_in_one_line_why_not(student, teacher, size):
    own, others = made(student, size, 0), made(teacher, size, 1)
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(ROWS, 3, size, size)).astype("float32"))
    outputs = asked(own[0], images, stop_gradient=False), asked(others[0], images, stop_gradient=True)
    refused = {}
    for name in OF_TAPS:
        try:
            one_step(name, own, others, images, outputs)
        except SsldError as error:
            refused[name] = str(error)
    assert all("\n" not in line for line in refused.values())
    wanted = PAIRS[student, teacher, size] | TOKENS
    assert refused.keys() == wanted.keys(), refused
    for name, words in wanted.items():
        assert re.search(words, refused[name]), refused[name]


# --- which stages belong together


def sides(*pixels):
    return stages_of("student", {f"stage{number}": (8, side, side) for number, side in enumerate(pixels, 1)})


@pytest.mark.parametrize(
    ("student", "teacher", "wanted"),
    [
        ((56, 28, 14, 7), (56, 28, 14, 7), ([1, 2, 3, 4], [1, 2, 3, 4])),
        ((112, 56, 28, 14, 7), (56, 28, 14, 7), ([2, 3, 4, 5], [1, 2, 3, 4])),  # a MobileNet beside a ResNet
        ((56, 28, 14, 7), (112, 56, 28, 14, 7), ([1, 2, 3, 4], [2, 3, 4, 5])),
        ((28, 14, 7), (56, 28, 14, 7), ([1, 2, 3], [2, 3, 4])),  # a ShuffleNetV2 beside it
        ((56, 28, 14, 7, 4), (56, 28, 14, 7), ([2, 3, 4, 5], [1, 2, 3, 4])),  # images of half the size
        ((16, 8, 4), (32, 16, 8), ([1, 2, 3], [1, 2, 3])),  # a ShuffleNet of CIFAR: stage by stage, as its code does
        ((16, 8, 4, 4), (32, 16, 8), ([1, 2, 4], [1, 2, 3])),  # of equal sizes the deepest
        ((1, 1), (1, 1, 1), ([1, 2], [2, 3])),
        ((8,), (8, 4), ([1], [2])),
    ],
)
def test_stages_are_paired_by_the_size_of_their_maps_counted_from_the_last(student, teacher, wanted):
    found = in_pairs(sides(*student), sides(*teacher))
    assert found == tuple([f"stage{number}" for number in numbers] for numbers in wanted)


def chosen(kind, student, teacher, options=None):
    """(taps of the student, taps of the teacher) that a loss reads of two networks, and the remarks."""
    terms, remarks = fitted(build_terms({kind: options or {}}), student[1], teacher[1])
    reads = terms[kind].loss.reads
    return sorted(reads.student - {"logits"}), sorted(reads.teacher - {"logits"}), remarks


@pytest.fixture(scope="module")
def networks():
    sizes = {"wrn_16_1": 32, "wrn_40_1": 32, "resnet20": 32}
    names = ["ResNet18_vd", "MobileNetV1_x0_25", "MobileNetV2_x0_25", "MobileNetV3_small_x0_35", *sizes]
    return {name: made(name, sizes.get(name, 64), 0) for name in names}


def test_the_default_of_the_published_pairs_is_what_their_recipes_write(networks):
    student, teacher = networks["MobileNetV1_x0_25"], networks["ResNet18_vd"]
    written_out = recipe.load("methods/imagenet/ofd_mobilenetv1").stages["distill"].loss["ofd"].loss
    own, others, _ = chosen("ofd", student, teacher)
    assert (own, others) == (sorted(written_out.student), sorted(written_out.teacher))
    review = recipe.load("methods/imagenet/reviewkd_mobilenetv1").stages["distill"].loss["reviewkd"].loss
    own, others, _ = chosen("reviewkd", student, teacher, {"student": list(review.student)})
    assert own == sorted(review.student)
    assert others == ["embedding", "stage1.pre", "stage2.pre", "stage3.pre", "stage4.pre"]


@pytest.mark.parametrize("kind", ["at", "hint", "nst", "reviewkd", "semckd", "vid"])
def test_the_default_on_the_pair_of_the_common_benchmark_is_what_its_recipe_writes_out(kind):
    written_out = recipe.load(f"methods/cifar100/{kind}_resnet8x4").stages["distill"].loss[kind].loss.reads
    own, others, remarks = chosen(kind, made("resnet8x4", 32, 0), made("resnet32x4", 32, 1))
    assert (own, others, remarks) == (sorted(written_out.student), sorted(written_out.teacher), [])


def test_a_stage_without_an_activation_is_taken_as_it_is_and_that_is_said(networks):
    own, others, remarks = chosen("ab", networks["MobileNetV3_small_x0_35"], networks["ResNet18_vd"])
    assert own == ["stage1", "stage2", "stage3", "stage4"]
    assert others == [f"{stage}.pre" for stage in own]
    (remark,) = remarks
    assert remark == f"loss ab: of the student stage1, stage2, stage3, stage4 {TAKEN}"
    assert chosen("ab", networks["MobileNetV1_x0_25"], networks["ResNet18_vd"])[2] == []


def test_a_wide_resnet_is_caught_where_its_published_code_hands_features_out(networks):
    own, others, _ = chosen("vid", networks["wrn_16_1"], networks["wrn_40_1"])
    assert own == others == ["stage1.sum", "stage2.sum", "stage3.sum"]
    assert chosen("ab", networks["wrn_16_1"], networks["wrn_40_1"])[0] == ["stage1.pre", "stage2.pre", "stage3.pre"]


@pytest.mark.parametrize(
    ("kind", "student", "wanted"),
    [
        ("hint", "ResNet18_vd", (["stage3"], ["stage3"])),
        ("hint", "MobileNetV2_x0_25", (["stage4"], ["stage3"])),
        ("at", "MobileNetV1_x0_25", (["stage2", "stage3", "stage4"], ["stage1", "stage2", "stage3"])),
        ("ofa", "MobileNetV1_x0_25", (["embedding", "map", "stage2", "stage3", "stage4", "stage5"], ["embedding"])),
        ("uskd", "MobileNetV1_x0_25", (["stage4"], [])),
        ("byot", "MobileNetV1_x0_25", (["map", "stage1", "stage2", "stage3", "stage4"], [])),
        ("semckd", "MobileNetV1_x0_25", ([f"stage{n}" for n in range(1, 6)], [f"stage{n}" for n in range(1, 5)])),
    ],
)
def test_each_method_takes_the_stages_of_its_card(kind, student, wanted, networks):
    assert chosen(kind, networks[student], networks["ResNet18_vd"])[:2] == wanted


def test_the_hint_of_residual_networks_of_cifar_is_that_of_the_common_benchmark(networks):
    assert chosen("hint", networks["resnet20"], networks["resnet20"])[:2] == (["stage2"], ["stage2"])


def test_taps_that_are_named_stay_and_the_other_side_follows(networks):
    student, teacher = networks["MobileNetV1_x0_25"], networks["ResNet18_vd"]
    names = ["stage1", "stage2"]
    assert chosen("vid", student, teacher, {"student": names})[:2] == (names, names)
    assert chosen("vid", student, teacher, {"teacher": names})[:2] == (["stage2", "stage3"], names)
    assert chosen("hint", student, teacher, {"teacher": "stage1"})[:2] == (["stage2"], ["stage1"])
    assert chosen("hint", student, teacher, {"student": "stage3", "teacher": "stage3"})[:2] == (["stage3"], ["stage3"])


@pytest.mark.parametrize("kind", ["at", "hint", "reviewkd", "semckd", "ofa", "uskd", "byot"])
def test_a_network_without_stages_is_told_what_to_write(kind, networks):
    _, shapes_of_it = networks["ResNet18_vd"]
    with pytest.raises(
        RecipeError, match=rf"^loss {kind}: the student has no taps stage1, stage2 \.\.\. with maps, .*; name "
    ):
        fitted(build_terms({kind: {}}), {"embedding": (8,)}, shapes_of_it)


# --- in a recipe


def shown(folder, student, kind):
    tree = changed(changed(TREE, "student.arch", student), "stages.finetune.loss", {"ce": {}, kind: {}})
    file = written(folder, changed(tree, "stages.distill.loss", {"ce": {"unlabelled": "ignore"}}))
    return recipe.load(file), show(name=kind, overrides=[str(file)], smoke=False)


def test_show_prints_the_chosen_taps_with_shapes_and_a_step_trains_on_them(tmp_path):
    plan, facts = shown(tmp_path, "MobileNetV1_x0_25", "hint")
    term = facts.tree["stages"]["finetune"]["terms"]["hint"]
    assert (term["student"], term["teacher"]) == ({"stage4": [128, 2, 2]}, {"stage3": [256, 2, 2]})
    assert "remarks" not in term
    with on_trial(plan, "finetune", IMAGES, ALONE) as (state, batches):
        metrics, batch = train_step(state, batches, 0, first=True)
    assert math.isfinite(float(metrics["loss/hint"]))
    assert set(batch["teacher"]) == {"stage3", "logits"}


def test_show_says_which_stages_end_in_no_activation(tmp_path):
    _, facts = shown(tmp_path, "MobileNetV2_x0_25", "ab")
    term = facts.tree["stages"]["finetune"]["terms"]["ab"]
    (remark,) = term["remarks"]
    assert remark == f"of the student stage2, stage3, stage4, stage5 {TAKEN}"
    assert list(term["teacher"]) == ["stage1.pre", "stage2.pre", "stage3.pre", "stage4.pre"]
    assert remark in " ".join(facts.text.split())


def test_each_peer_compares_the_stages_that_it_has(tmp_path):
    tree = changed(TREE, "student.arch", "MobileNetV1_x0_25")
    tree = changed(tree, "stages.finetune.peers", {"second": {"arch": "MobileNetV3_small_x0_35"}})
    tree = changed(tree, "stages.finetune.loss", {"ce": {}, "dml": {}, "vid": {}, "ab": {}})
    for name in ("plain", "distill"):
        tree = changed(tree, f"stages.{name}.loss", {"ce": {"unlabelled": "ignore"}})
    with on_trial(recipe.of_mapping(tree), "finetune", IMAGES, ALONE) as (state, batches):
        losses = {
            name: {kind: step.objective.terms[kind].loss for kind in ("vid", "ab")}
            for name, step in {"first": state.step, **state.steps_of_peers}.items()
        }
        metrics, batch = train_step(state, batches, 0, first=True)
    four = ("stage1", "stage2", "stage3", "stage4")
    assert losses["first"]["vid"].pairs == list(zip(("stage2", "stage3", "stage4", "stage5"), four, strict=True))
    assert losses["second"]["vid"].pairs == list(zip(four, four, strict=True))
    assert state.remarks == [f"second: loss ab: of the student stage1, stage2, stage3, stage4 {TAKEN}"]
    assert set(batch["teacher"]) == {*four, *(f"{stage}.pre" for stage in four), "logits"}
    assert math.isfinite(float(metrics["second/loss/vid"]))


FORMER = {
    kind: {field.name: field.metadata["was"] for field in dataclasses.fields(cls) if "was" in field.metadata}
    for kind, cls in built_in().items()
}
FORMER = {kind: options for kind, options in FORMER.items() if options}


@pytest.mark.parametrize("kind", FORMER)
def test_a_plan_that_was_recorded_with_the_defaults_of_then_has_the_digest_of_then(kind, tmp_path):
    plan = recipe.of_mapping(changed(TREE, "stages.distill.loss", {kind: {}, "ssld": {}}))
    tree = recipe.plan_tree(plan)
    block = tree["stages"]["distill"]["loss"][kind]
    for option, value in FORMER[kind].items():
        assert block[option] is None
        block[option] = list(value) if isinstance(value, tuple) else value
    run_folder.write_plan(tmp_path, plan.digest, yaml_text.dump(tree))
    read = recipe.of_run(tmp_path)
    assert read.digest == plan.digest
    assert read.stages["distill"].loss[kind] == plan.stages["distill"].loss[kind]


def test_taps_that_are_written_out_are_another_recipe_than_those_that_are_found():
    found, written_out = (
        recipe.load("methods/at", words) for words in ((), ("stages.distill.loss.at.student=[stage1]",))
    )
    assert found.digest != written_out.digest


def test_the_losses_that_find_their_taps_are_those_that_named_stages():
    assert {*FORMER} == {
        "ab", "afd", "at", "fsp", "hint", "nst", "ofa", "ofd", "reviewkd", "semckd", "uskd", "vid",
    }  # fmt: skip
