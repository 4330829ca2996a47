"""Networks of the zoo that end otherwise than in their own classifier: a second head, or the end of a teacher."""

import json

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld import models, weights
from ssld.config import cost, recipe
from ssld.distill.networks import build, make_network
from ssld.distill.runs import Run
from ssld.distill.state import set_mode, set_trainable
from ssld.distill.trial import on_trial
from ssld.errors import RecipeError
from ssld.losses.layers.regressor import Bottleneck
from ssld.planning import parts_of, storage
from ssld.run import run_plan
from ssld.runtime import Runtime, seed_networks
from ssld.track import Options
from tests.unit.some_recipe import changed

HERE = Runtime(rank=0, world=1, gpu=None)
KINDS = ["ResNet18_vd", "MobileNetV3_small_x0_35", "VGG11", "SqueezeNet1_1", "HRNet_W18_C", "GoogLeNet"]


def created(arch, seed=0, size=64):
    seed_networks(seed)
    return models.create(arch, num_classes=5, in_size=size)


def images(size=64, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(2, 3, size, size)).astype("float32"))


@pytest.mark.parametrize("arch", KINDS)
def test_a_distillation_head_has_logits_of_its_own_and_in_use_the_mean_counts(arch):
    own, swapped, network = created(arch), created(arch), created(arch)
    models.add_distillation_head(network, created(arch, 1))
    for parameter, other in zip(swapped.classifier.parameters(), created(arch, 1).classifier.parameters(), strict=True):
        parameter.set_value(other)
    for net in (own, swapped, network):
        net.eval()
    with paddle.no_grad():
        found = models.outputs_of(network, images(), {"map", "distillation"})
        wanted, second = models.outputs_of(own, images(), {"map"}), swapped(images())
    np.testing.assert_allclose(found["map"].numpy(), wanted["map"].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["distillation"].numpy(), second.numpy(), rtol=1e-4, atol=1e-5)
    mean = (wanted["logits"] + second).numpy() / 2
    np.testing.assert_allclose(found["logits"].numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network(images()).numpy(), mean, rtol=1e-4, atol=1e-5)
    assert network.arch == f"{arch}+distillation"
    names = [parameter.name for parameter in network.parameters()]
    assert len(set(names)) == len(names)


def test_while_it_trains_the_logits_are_those_of_its_own_classifier():
    network = created("ResNet18_vd")
    models.add_distillation_head(network, created("ResNet18_vd", 1))
    network.train()
    found = models.outputs_of(network, images(), {"embedding", "distillation"})
    weight = network.classifier.weight
    np.testing.assert_allclose(
        found["logits"].numpy(), (found["embedding"] @ weight + network.classifier.bias).numpy(), rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(found["distillation"].numpy(), found["logits"].numpy())
    trained = set_trainable(network, "head")
    assert {tuple(p.shape) for p in trained} == {(512, 5), (5,)}
    assert len(trained) == 4, "both heads"


PAIRS = [
    ("MobileNetV3_small_x0_35", "ResNet18_vd"),
    ("ResNet18_vd", "GhostNet_x0_5"),
    ("VGG11", "MobileNetV3_small_x0_35"),
    ("SqueezeNet1_1", "HRNet_W18_C"),
    ("HRNet_W18_C", "SqueezeNet1_1"),
]


@pytest.mark.parametrize(("arch", "of_teacher"), PAIRS)
def test_a_network_ends_in_the_end_of_its_teacher_which_stays_as_it_is(arch, of_teacher):
    network, teacher, trained = created(arch), created(of_teacher, 1), created(of_teacher, 2)
    with paddle.no_grad():
        own, width = (models.outputs_of(one, images(), {"map"})["map"].shape for one in (network, teacher))
    models.add_teacher_head(network, Bottleneck(own[1], 4, width[1]), teacher, width[2] if own[2] > width[2] else None)
    models.take_end(network, trained)
    for net in (network, trained):
        net.eval()
    with paddle.no_grad():
        found = models.outputs_of(network, images(), {"map"})
        assert found["map"].shape[1] == width[1]
        assert found["map"].shape[2] == min(own[2], width[2])
        wanted = found["map"]  # through the end of the teacher that was trained
        for layer in models.heads._end(trained).values():
            wanted = layer(wanted)
    np.testing.assert_allclose(found["logits"].numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert network.arch == f"{arch}+{of_teacher}"
    before = [value.numpy().tobytes() for layer in network.frozen for value in layer.state_dict().values()]
    assert before
    parameters = {id(p) for layer in network.frozen for p in layer.parameters()}
    for train in ("all", "head", "head_and_norms"):
        assert not parameters & {id(p) for p in set_trainable(network, train)}
    set_trainable(network, "all")
    set_mode(network, "all")
    assert network.training
    assert not any(part.training for layer in network.frozen for part in layer.sublayers(include_self=True))
    network(images(seed=1)).sum().backward()
    assert before == [value.numpy().tobytes() for layer in network.frozen for value in layer.state_dict().values()]
    assert all(p.grad is None for layer in network.frozen for p in layer.parameters())


# --- recipes

TREE = {
    "name": "ends",
    "classes": 3,
    "student": {"arch": "MobileNetV3_small_x0_35", "head": {"kind": "teacher"}},
    "teacher": {"arch": "ResNet18_vd", "stage": "teach", "norm": "running"},
    "stage": {"data": {"train": ["t.txt"], "val": "v.txt", "size": 32, "batch": 4}, "optim": {"lr": 0.1}, "epochs": 1},
    "stages": {
        "teach": {"network": "teacher", "loss": {"ce": {"unlabelled": "ignore"}}},
        "distill": {"loss": {"simkd": {"projector": False}}},
    },
    "export": {"formats": ["paddle"]},
    "bench": {"engines": ["paddle"]},
}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("student.head.teacher", "tech", "student.head.teacher: no teacher named 'tech'; did you mean 'teacher'?"),
        ("student.head.factor", 0, "student.head.factor: should be an integer from 1 to 1,000,000; got 0"),
        (
            "student.head",
            {"kind": "distillation", "teacher": "teacher"},
            "head.teacher: distillation is a layer of the",
        ),
        ("student", {"code": "x", "head": {"kind": "teacher"}}, "student.code: 'x' names nothing in a Python file"),
        (
            "stages",
            {"distill": TREE["stages"]["distill"], "teach": TREE["stages"]["teach"], "last": TREE["stages"]["distill"]},
            "student.head.teacher: stage 'teach' trains it, and stage 'distill' already needs it; put that stage first",
        ),
        (
            "stages.teach.network",
            "student",
            "student.head.teacher: stage 'teach' trains it, and stage 'teach' already needs it; put that stage first",
        ),
        ("teacher", {"run": "runs/x"}, "head.teacher: teacher 'teacher' comes from run, whose last layers are not at"),
    ],
)
def test_heads_that_cannot_be_made_are_refused(path, value, message):
    with pytest.raises(RecipeError) as caught:
        recipe.of_mapping(changed(TREE, path, value))
    assert message in str(caught.value)


def test_a_map_of_other_channels_needs_the_head_of_this_teacher(tmp_path):
    plan = recipe.of_mapping(changed(TREE, "student.head", None))
    wanted = "loss simkd: 200 channels of 'map', and the teacher's 'map' has 512; give the student the end of this"
    with pytest.raises(RecipeError, match=wanted), on_trial(plan, "distill", 2, HERE):
        pass


def test_the_head_is_in_the_digests_of_stages_of_its_network_with_its_teacher():
    digests = [
        {name: recipe.of_mapping(tree).stage_digest(name) for name in TREE["stages"]}
        for tree in (
            TREE,
            changed(TREE, "student.head.factor", 4),
            changed(TREE, "stages.distill.loss", {"ce": {"unlabelled": "ignore"}}),
            changed(
                changed(TREE, "stages.distill.loss", {"ce": {"unlabelled": "ignore"}}), "teacher.arch", "ResNet34_vd"
            ),
        )
    ]
    assert len({digest["distill"] for digest in digests}) == 4
    assert len({digest["teach"] for digest in digests[:3]}) == 1
    plain = recipe.of_mapping(changed(TREE, "student.head", None))
    assert "head" not in recipe.digested(plain.student)


def test_a_network_with_a_head_is_made_alike_every_time_and_no_card_has_its_costs(tmp_path):
    for kind in ("teacher", "distillation"):
        plan = recipe.of_mapping(changed(TREE, "student.head", {"kind": kind}))
        one, other = (build(plan, "student", 32) for _ in range(2))
        plain = build(recipe.of_mapping(changed(TREE, "student.head", None)), "student", 32)
        states = [
            {key: value.numpy().tobytes() for key, value in net.state_dict().items()} for net in (one, other, plain)
        ]
        assert states[0] == states[1]
        assert {key for key in states[2] if key.startswith("stages")} <= {
            k for k, v in states[0].items() if states[2].get(k) == v
        }
        with pytest.raises(RecipeError, match="a network without a card has no arithmetic"):
            cost.student_macs(plan, plan.stages["distill"])


@pytest.mark.parametrize("kind", ["teacher", "distillation"])
def test_a_recipe_whose_student_has_a_head_is_planned_with_what_the_head_costs(kind, tmp_path):
    plan = recipe.of_mapping(changed(TREE, "student.head", {"kind": kind}))
    network = build(plan, "student", 32)
    params, macs = models.count(network, 32)
    (part,) = [part for part in parts_of(plan, lists_of(plan, tmp_path)) if part.name == "distill"]
    taught = cost.taught_macs(plan, plan.stages["distill"])
    assert part.macs == 3 * macs + taught
    plain = models.create(network.arch.partition("+")[0], num_classes=plan.classes, in_size=32)
    more = params - models.parameters(plain)
    if kind == "distillation":
        classifier = plain.classifier.weight.shape
        assert more == classifier[0] * classifier[1] + classifier[1]
    assert more > 0
    stored = storage(plan, [part])
    assert stored["exports"] == 4 * params * len(plan.export.formats)


def lists_of(plan, folder):
    """A data folder with the lists of a plan, of 40 images each."""
    for stage in plan.stages.values():
        for name in stage.data.train:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("a.jpg 1\n" * 40)
    return folder


def test_a_run_trains_exports_and_counts_the_projector_and_the_teachers_end(tmp_path):
    plan = recipe.of_mapping(TREE, smoke=True)
    result = run_plan(plan, tmp_path, HERE, Options(wandb="disabled"))
    run = Run.of_plan(plan, tmp_path, HERE)
    teacher, student = build(plan, "teacher", 32), build(plan, "student", 32)
    models_of = {"teach": teacher, "distill": student}
    for name, network in models_of.items():
        weights.load_into(network, run.stage(name).model_file)
    assert isinstance(student.classifier, nn.Linear)
    for key in ("weight", "bias"):
        trained = getattr(teacher.classifier, key).numpy()
        assert getattr(student.classifier, key).numpy().tobytes() == trained.tobytes()
    body = build(recipe.of_mapping(changed(TREE, "student.head", None), smoke=True), "student", 32)
    kept = models.parameters(body) - sum(p.size for p in models.heads._end(body)["fc"].parameters()) - _widen(body)
    ends = sum(p.size for layer in student.frozen for p in layer.parameters())
    projector = models.parameters(student.head.project)
    assert result["student"]["params"] == kept + projector + ends
    assert result["student"]["arch"] == "MobileNetV3_small_x0_35+ResNet18_vd"
    contract = json.loads((tmp_path / "export" / "contract.json").read_text(encoding="utf-8"))
    assert contract["arch"] == result["student"]["arch"]
    assert result["export"]["paddle"]["max_abs_diff"] <= result["export"]["paddle"]["bound"]
    again = make_network(run.stage("distill"))  # a stage that goes on, or begins, has the fresh end until it takes that
    assert again.classifier.weight.numpy().tobytes() != student.classifier.weight.numpy().tobytes()


def _widen(body):
    return sum(p.size for p in models.heads._end(body)["widen"].parameters())
