"""Several networks in one stage, which learn from each other: what they see, what is kept, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import paddle
import pytest

import ssld
from ssld import models
from ssld.config import cost, recipe
from ssld.distill import checkpoint
from ssld.distill.networks import build, build_peer, make_peers
from ssld.distill.pretrained import check_starts
from ssld.distill.reuse import KnownParts, damage, take_over
from ssld.distill.runs import Run
from ssld.distill.step import Step, Together
from ssld.errors import RecipeError, RunError
from ssld.interfaces import Outputs
from ssld.losses import build_terms
from ssld.losses.objective import Objective
from ssld.report import write_report
from ssld.report.summary import names, summary
from ssld.run import run_plan
from ssld.runtime import Runtime
from ssld.track import Options
from tests.unit.test_stage import CLASSES, PLAIN, SIZE, acting, broken, lines, network, run, state
from tests.unit.test_stage import images as images  # a fixture

HERE = Runtime(rank=0, world=1, gpu=None)
LARGER = "MobileNetV3_small_x0_5"
LOSSES = {"ce": {}, "dml": {}, "kdcl": {"weight": 0.5}, "pskd": {"weight": 0.1}}
STAGE = replace(
    PLAIN,
    epochs=2,  # of two steps
    loss=build_terms(LOSSES),
    optim=replace(PLAIN.optim, lr=0.01, accumulate=2, ema=0.9),
    checkpoint_minutes=0,  # after every step
)


def peers():
    """A network of the student's architecture with other weights, and a larger one, named as a stage names them."""
    paddle.seed(9)
    made = {"twin": network(5), "large": models.create(LARGER, num_classes=CLASSES, in_size=SIZE)}
    for name, peer in made.items():
        for parameter in peer.parameters():
            parameter.name = f"{name}.{parameter.name}"
    return made


def states(net, others):
    return {"student": state(net), **{name: state(peer) for name, peer in others.items()}}


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    folder, others = tmp_path_factory.mktemp("peers"), peers()
    net, scores = run(images, folder, STAGE, peers=others)
    return states(net, others), scores, lines(folder), checkpoint.load(folder / "stage").tensors


def test_each_network_is_trained_averaged_evaluated_and_logged_under_its_name(whole):
    ends, scores, records, tensors = whole
    begins = states(network(), peers())
    assert all(ends[name].keys() == begins[name].keys() and ends[name] != begins[name] for name in begins)
    assert tensors.keys() == {"model", "average", "optimizer", "helpers", "peers", "averages"}
    for name in ("twin", "large"):  # what is handed on is the average of each
        mean = {
            key.removeprefix(f"{name}."): v.tobytes() for key, v in tensors["averages"].items() if key.startswith(name)
        }
        assert ends[name] == mean
        assert any(key.startswith(f"{name}.helpers.pskd.") for key in tensors["peers"])
    evaluated = records[-1]
    assert scores["peers"].keys() == {"twin", "large"}
    assert {key: evaluated[f"large/{key}"] for key in ("top1", "top5", "loss")} == scores["peers"]["large"]
    assert scores["peers"]["twin"]["loss"] != scores["loss"]
    train = records[0]
    assert {"loss/dml", "twin/loss/dml", "large/loss/kdcl", "twin/top1", "large/top1", "top1"} <= train.keys()


@pytest.mark.parametrize("number", [8, 21])  # of 24 losses, three of each micro-batch
def test_a_stage_with_peers_that_is_stopped_ends_with_the_same_bits_in_all_of_them(whole, images, number, tmp_path):
    with pytest.raises(OSError, match="stops here"), acting(number, broken):
        run(images, tmp_path, STAGE, peers=peers())
    others = peers()
    net, scores = run(images, tmp_path, STAGE, peers=others)
    ends, wanted, records, tensors = whole
    assert states(net, others) == ends
    assert scores["peers"] == wanted["peers"]
    assert lines(tmp_path) == records
    again = checkpoint.load(tmp_path / "stage").tensors
    bits = ({key: value.tobytes() for key, value in one["optimizer"].items()} for one in (again, tensors))
    assert next(bits) == next(bits)


def test_the_checkpoint_of_other_peers_is_refused(images, tmp_path):
    with pytest.raises(OSError, match="stops here"), acting(8, broken):
        run(images, tmp_path, STAGE, peers=peers())
    with pytest.raises(RunError, match="its checkpoint is of another network"):
        run(images, tmp_path, STAGE, peers={"twin": peers()["twin"]})


# --- what a loss sees


def given(seed, batch=3):
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(batch, 3, SIZE, SIZE)).astype("float32"))


def test_the_step_of_peers_is_the_loss_of_each_network_with_the_outputs_of_all_others():
    one, others = network(0), peers()
    terms = build_terms({"ce": {}, "dml": {"temperature": 2.0}})
    steps = {name: Step(net, Objective(terms)) for name, net in {"": one, **others}.items()}
    together = Together(steps[""], {name: steps[name] for name in others})
    together.eval()
    batch = {"image": given(1), "label": paddle.to_tensor([0, 1, 2]), "step": 0, "epoch": 1}
    (loss,), parts, logits = together(batch)
    outputs = {name: Outputs({"logits": net(batch["image"])}) for name, net in {"": one, **others}.items()}
    wanted = {
        name: Objective(terms)(of, None, {**batch, "peers": {n: o for n, o in outputs.items() if n != name}})[0]
        for name, of in outputs.items()
    }
    np.testing.assert_allclose(float(loss), sum(float(value) for value in wanted.values()), rtol=1e-6)
    np.testing.assert_allclose(float(parts["twin/loss"]), float(wanted["twin"]), rtol=1e-6)
    np.testing.assert_allclose(logits.numpy(), outputs[""]["logits"].numpy(), rtol=1e-5, atol=1e-6)
    loss.backward()
    assert all(p.grad is not None for net in (one, *others.values()) for p in net.parameters() if p.trainable)


def test_a_peer_is_seen_in_the_view_in_which_a_term_compares():
    one, others = network(0), {"twin": peers()["twin"]}
    terms = build_terms({"ce": {}, "dml": {"student_view": "strong"}})
    steps = {
        name: Step(net, Objective(terms, views=["strong"]), views=["strong"])
        for name, net in {"": one, **others}.items()
    }
    together = Together(steps[""], {"twin": steps["twin"]})
    together.eval()
    batch = {"image": given(1), "views": {"strong": given(2)}, "label": paddle.to_tensor([0, 1, 2])}
    parts = together(batch)[1]
    strong = {name: Outputs({"logits": net(given(2))}) for name, net in {"own": one, **others}.items()}
    seen = {"step": 0, "epoch": 1, "peers": {"twin": strong["twin"]}}
    wanted = build_terms({"dml": {}})["dml"].loss(strong["own"], Outputs(), seen, None).mean()
    np.testing.assert_allclose(float(parts["loss/dml"]), float(wanted), rtol=1e-5)


def test_udml_is_the_mean_squared_gap_from_each_peer_and_trains_the_network_alone():
    loss = build_terms({"udml": {"taps": ["stage1", "map"]}})["udml"].loss
    draw = np.random.default_rng(0)
    nets = [{tap: draw.normal(size=(2, 3, 4, 4)).astype("float32") for tap in ("stage1", "map")} for _ in range(3)]
    own, *others = (Outputs({tap: paddle.to_tensor(v, stop_gradient=False) for tap, v in net.items()}) for net in nets)
    value = loss(own, Outputs(), {"peers": dict(zip("ab", others, strict=True))}, None)
    gap = [sum(((nets[0][tap] - net[tap]) ** 2).mean(axis=(1, 2, 3)) for tap in nets[0]) for net in nets[1:]]
    np.testing.assert_allclose(value.numpy(), (gap[0] + gap[1]) / 2, rtol=1e-5)
    value.sum().backward()
    assert own["map"].grad is not None
    assert all(other[tap].grad is None for other in others for tap in other)
    narrow = Outputs({"stage1": own["stage1"], "map": own["map"][:, :2]})
    with pytest.raises(
        RunError, match=r"loss udml: tap 'map' is \[3, 4, 4\], and \[2, 4, 4\] of the network 'b' beside it"
    ):
        loss(own, Outputs(), {"peers": {"a": others[0], "b": narrow}}, None)


# --- recipes

TREE = {
    "name": "together",
    "classes": 3,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "stage": {"data": {"train": ["t.txt"], "val": "v.txt", "size": 32, "batch": 4}, "optim": {"lr": 0.1}},
    "stages": {
        "first": {
            "epochs": 1,
            "loss": {"ce": {"unlabelled": "ignore"}, "dml": {}},
            "peers": {"twin": {"arch": "MobileNetV3_small_x0_35"}, "large": {"arch": LARGER}},
        },
        "last": {
            "init": "first",
            "epochs": 1,
            "loss": {"ce": {"unlabelled": "ignore"}, "dml": {}},
            "peers": {"twin": {"arch": "MobileNetV3_small_x0_35"}, "new": {"arch": LARGER}},
        },
    },
    "export": {"formats": ["paddle"]},
    "bench": {"engines": ["paddle"]},
}


def changed(path, value):
    tree = json.loads(json.dumps(TREE))
    *parents, key = path.split(".")
    block = tree
    for parent in parents:
        block = block[parent]
    block[key] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stages.last.peers", {}, "stages.last.loss.dml: compares networks that train together, and this stage trains"),
        ("stages.last.loss", {"ce": {}}, "stages.last.peers: no loss of this stage compares the networks that it"),
        ("stages.last.quantize", {}, "stages.last.peers: a stage in int8 trains one network; leave peers or"),
        (
            "stages.last.peers.dml",
            {"arch": LARGER},
            "stages.last.peers.dml: metrics begin other names with 'dml'; rename",
        ),
        (
            "stages.last.peers.student",
            {"arch": LARGER},
            "peers.student: metrics begin other names with 'student'; rename",
        ),
        ("stages.last.peers.new", {}, "stages.last.peers.new: neither arch nor code is given; give arch"),
        (
            "stages.last.peers.twin.arch",
            LARGER,
            "stages.last.peers.twin: it goes on from peer 'twin' of stage 'first',",
        ),
        (
            "stages.last.peers.twin.pretrained",
            "x.pdparams",
            "peers.twin.pretrained: it goes on from peer 'twin' of stage",
        ),
        (
            "stages.last.peers.a/b",
            {"arch": LARGER},
            "stages.last.peers: 'a/b' has a path separator; write a plain name",
        ),
    ],
)
def test_peers_that_cannot_be_trained_are_refused(path, value, message):
    with pytest.raises(RecipeError) as caught:
        recipe.of_mapping(changed(path, value))
    assert message in str(caught.value)


def test_peers_are_part_of_the_digest_and_absent_ones_are_not():
    plan = recipe.of_mapping(TREE)
    other = recipe.of_mapping(changed("stages.last.peers.new.bn_momentum", 0.8))
    assert plan.stage_digest("last") != other.stage_digest("last")
    assert plan.stage_digest("first") == other.stage_digest("first")
    assert "peers" not in recipe.digested(replace(plan.stages["last"], peers={}))


def test_equal_peers_begin_with_weights_of_their_own_which_the_seed_gives(tmp_path):
    def twin(*overrides, name="twin"):
        stage = Run.of_plan(recipe.of_mapping(TREE, overrides), tmp_path, HERE).stage("first")
        return build_peer(stage, name, 32) if name else build(stage.plan, "student", 32)

    first = twin()
    assert state(first) == state(twin())
    assert state(first) != state(twin("seed=1"))
    assert state(first) != state(twin(name=""))
    parameters = [p.name for net in (first, twin(name="large"), twin(name="")) for p in net.parameters()]
    assert len(set(parameters)) == len(parameters)


def test_weights_that_a_peer_starts_from_are_looked_for_before_the_first_stage():
    plan = recipe.of_mapping(changed("stages.first.peers.large.pretrained", "no/file"))
    with pytest.raises(RunError, match=r"large\.pretrained: no file no/file; name one, or a published"):
        check_starts(plan)


def test_costs_count_every_network_of_a_stage():
    plan = recipe.of_mapping(TREE)
    alone = recipe.of_mapping(changed("stages.last.peers", {"twin": TREE["stages"]["last"]["peers"]["twin"]}))
    both, three = cost.student_macs(alone, alone.stages["last"]), cost.student_macs(plan, plan.stages["last"])
    macs = cost.network_macs(plan, LARGER, 32)
    assert three - both == pytest.approx(3 * macs)
    assert cost.checkpoint_bytes(plan, plan.stages["last"]) > cost.checkpoint_bytes(alone, alone.stages["last"])


# --- a whole run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "runs" / "one"
    plan = recipe.of_mapping(TREE, smoke=True)
    result = run_plan(plan, folder, HERE, Options(wandb="disabled"))
    return plan, folder, result


def test_a_run_has_every_network_and_exports_the_first(finished):
    plan, folder, result = finished
    assert result["peers"].keys() == {"twin", "new"}
    record = result["stages"]["last"]["peers"]
    for name, facts in result["peers"].items():
        assert facts["arch"] == plan.stages["last"].peers[name].arch == record[name]["network"]
        assert facts["params"] == models.parameters(models.create(facts["arch"], num_classes=3, in_size=32))
        assert facts["top1"] == pytest.approx(record[name]["top1"])
    exported = json.loads((folder / "export" / "contract.json").read_text(encoding="utf-8"))
    assert exported["arch"] == plan.student.arch
    loaded = ssld.load_run(folder, device="cpu")
    peer = loaded.stage("last").network("new")
    assert peer.arch == LARGER
    with pytest.raises(RecipeError, match="no peer named 'twim'; did you mean 'twin'"):
        loaded.stage("last").network("twim")
    numbers = summary(result)
    assert numbers["last/new/top1"] == record["new"]["top1"]
    assert {"first/large/top1", "last/twin/top1"} <= {*names(plan)} & {*numbers}
    page = write_report(folder).read_text(encoding="utf-8")
    assert "last: new" in page
    assert LARGER in page


def test_a_stage_that_goes_on_takes_up_the_peer_of_its_name_and_begins_the_others(finished):
    plan, folder, _ = finished
    stage = Run.of_plan(plan, folder, HERE).stage("last")
    made = make_peers(stage)
    kept = models.create("MobileNetV3_small_x0_35", num_classes=3, in_size=32)
    ssld.weights.load_into(kept, stage.start.file_of_peer("twin"))
    assert state(made["twin"]) == state(kept)
    assert state(made["new"]) == state(build_peer(stage, "new", 32))


def test_a_stage_is_taken_over_with_its_peers_and_put_aside_where_one_of_them_is_damaged(finished, capsys):
    plan, folder, _ = finished
    other = Run.of_plan(plan, folder.parent / "two", HERE)
    shutil.copytree(folder / "fake", other.folder / "fake")
    for name in plan.stages:
        take_over(other.stage(name), "equal", KnownParts())
    stage = other.stage("last")
    assert stage.is_done
    for name in ("twin", "new"):
        file = stage.file_of_peer(name)
        assert file.read_bytes() == (folder / "stages" / stage.folder.name / file.name).read_bytes()
        assert file.with_suffix(".facts.json").is_file()
    file.write_bytes(file.read_bytes()[:-8])
    assert damage(stage.folder) == "peer-new.safetensors is damaged (sha256)"
    capsys.readouterr()
    take_over(stage, "equal", KnownParts())
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "stage last: peer-new.safetensors is damaged (sha256); it is trained anew",
        f"last: taken over from {folder.name}",
    ]
