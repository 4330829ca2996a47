"""Published weights as a user gets them: fetch, then the command that it prints."""

import json
import pickle
import shlex

import numpy as np
import paddle
import pytest

from ssld import models, weights
from ssld.config import cards
from ssld.data import fake
from tests.e2e.command import fails, ssld, succeeds
from tests.unit.weights_files import published, random_state, write_pdparams

ARCH = "MobileNetV3_small_x0_35"


def test_fetch_prints_the_import_and_the_import_the_weights(tmp_path):
    state = random_state(ARCH)
    (tmp_path / "mirror").mkdir()
    file = cards.find_weights(ARCH)[1].url.rpartition("/")[2]
    write_pdparams(tmp_path / "mirror" / file, published(ARCH, state))
    result = json.loads(succeeds("weights", "fetch", ARCH, "--json", cwd=tmp_path, SSLD_MIRROR="mirror"))
    assert result["file"] == f"weights/{file}"
    assert succeeds("weights", "fetch", ARCH, "--offline", cwd=tmp_path).splitlines()[-1].split(maxsplit=1) == [
        "next",
        result["next"],
    ]
    printed = succeeds(*shlex.split(result["next"])[1:], cwd=tmp_path)
    facts = dict(line.split(maxsplit=1) for line in printed.splitlines())
    out = tmp_path / facts["file"]
    assert facts.items() >= {"status": "written", "arch": ARCH, "num_classes": "10", "flavour": "develop"}.items()
    network = models.create(ARCH, num_classes=10)
    weights.load_into(network, out)
    assert all(np.array_equal(tensor.numpy(), state[key]) for key, tensor in network.state_dict().items())
    line = fails("weights", "import", result["file"], "--arch", "ResNet18", cwd=tmp_path)
    assert line.startswith(f"ssld weights: weights/{file}: not the weights of ResNet18: ")
    assert line.endswith(f"; it fits {ARCH}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetch", ARCH, "--offline"], "is not there, and offline nothing is downloaded; `ssld weights fetch Mobile"),
        (["fetch", ARCH, "--offline", "--flavour", "static"], f"`ssld weights fetch {ARCH} --flavour static` gets it"),
        (["fetch", "ResNet50_vdd"], "no published training named 'ResNet50_vdd'; did you mean 'ResNet50_vd'?"),
        (["fetch", ARCH, "--mirror", "nowhere"], "the mirror has no such file; put it there"),
        (["import", "x.pdparams", "--arch", ARCH], "x.pdparams: no such file"),
    ],
)
def test_what_cannot_be_had_is_one_line(words, message, tmp_path):
    assert message in fails("weights", *words, cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bring", "x"], "invalid choice: 'bring'"),
        (["import", "x.tar"], "weights import: --arch NAME is required; `ssld list students` shows the names"),
        (["import", "x.tar", "--arch", ARCH, "--offline"], "weights import: --offline belongs to `ssld weights fetch`"),
        (["fetch", ARCH, "--force"], "weights fetch: --force belongs to `ssld weights import`"),
        (["fetch", ARCH, "--flavour", "3.0"], "invalid choice: '3.0'"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, message, tmp_path):
    assert message in fails("weights", *words, cwd=tmp_path, code=2)


def test_the_environment_may_forbid_the_network(tmp_path):
    assert "offline nothing is downloaded" in fails("weights", "fetch", ARCH, cwd=tmp_path, SSLD_OFFLINE="1")


def test_a_name_that_moved_is_said_so(tmp_path):
    done = ssld("weights", "fetch", "ResNet50_vd_ssld", "--offline", cwd=tmp_path)
    assert "the teacher ResNet50_vd_ssld is another file: `ssld weights fetch " in done.stderr.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_published_weights_are_evaluated_as_their_card_says_and_not_compared_on_other_images(tmp_path):
    """A network that says class 3 whatever it sees is right on a quarter of four classes' images."""
    model = models.create(ARCH)
    model.head.fc.weight.set_value(np.zeros([1280, 1000], "float32"))
    model.head.fc.bias.set_value(np.eye(1000, dtype="float32")[3])
    write_pdparams(tmp_path / "file.pdparams", published(ARCH, {k: v.numpy() for k, v in model.state_dict().items()}))
    fake(tmp_path / "imagenet", 4, train=0, unlabelled=0, val=8, size=240)
    (tmp_path / "imagenet" / "val.txt").rename(tmp_path / "imagenet" / "val_list.txt")
    words = ("eval", ARCH, "--weights", "file.pdparams", "--data")
    result = json.loads(succeeds(*words, "imagenet/val", cwd=tmp_path))
    assert (result["images"], result["top1"]) == (8, 25.0)
    assert result["not_compared"] == (
        "the card's published number is of ImageNet's 50,000 validation images, 50 of each class; this list has 8 "
        "different images of 4 classes"
    )
    assert not {"published_top1", "difference", "standard_error"} & result.keys()
    assert fails(*words, "nowhere", cwd=tmp_path).startswith("ssld eval: nowhere: no list file there; recipes count")


def test_a_further_test_set_is_prepared_from_a_folder_and_scored_as_it_was_published(tmp_path):
    """A network that ranks the classes 3, 4, 7, whatever it sees; of ImageNet-A only 4 and 7 are there."""
    model = models.create(ARCH)
    model.head.fc.weight.set_value(np.zeros([1280, 1000], "float32"))
    model.head.fc.bias.set_value((np.eye(1000)[[3, 4, 7]] * [[9], [5], [2]]).sum(0).astype("float32"))
    weights.save(model, tmp_path / "file.safetensors")
    wnids = [f"n{number:08d}" for number in range(1000)]
    (tmp_path / "data" / "imagenet").mkdir(parents=True)
    (tmp_path / "data" / "imagenet" / "classes.txt").write_text("\n".join(wnids))
    lists = fake(tmp_path / "drawn", 4, train=0, unlabelled=0, val=4, size=240)
    for wnid, line in zip((wnids[4], wnids[4], wnids[4], wnids[7]), lists["val"].read_text().splitlines(), strict=True):
        image = tmp_path / "drawn" / line.split()[0]
        (tmp_path / "a" / wnid).mkdir(parents=True, exist_ok=True)
        image.rename(tmp_path / "a" / wnid / image.name)
    words = ("data", "prepare", "imagenet_a", "--source", "a")
    assert "2 classes, ImageNet-A has 200" in fails(*words, cwd=tmp_path, begun=True)
    result = json.loads(succeeds(*words, "--allow-partial", "--json", cwd=tmp_path))
    assert (result["folder"], result["lists"]) == ("data/imagenet_a", {"val_list.txt": 4})
    words = ("eval", ARCH, "--weights", "file.safetensors", "--data", "imagenet_a")
    numbers = json.loads(succeeds(*words, "--json", cwd=tmp_path))
    assert (numbers["top1"], numbers["top5"]) == (75, 100)
    assert numbers["nll"] == pytest.approx(np.log1p(np.exp(-3)) + 3 / 4, abs=1e-5)
    assert numbers["per_class"] == {"class": [4, 7], "images": [3, 1], "top1": [100, 0]}
    assert "published_top1" not in numbers  # the claim is of ImageNet's own images
    short = json.loads(succeeds(*words, cwd=tmp_path))
    assert short == {key: value for key, value in numbers.items() if key not in ("reliability", "per_class", "worst")}


def test_the_import_that_fetch_prints_names_the_revision_that_the_weights_need(tmp_path):
    file = cards.find_weights("GhostNet_x0_5")[1].url.rpartition("/")[2]
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / file).write_bytes(pickle.dumps({"w": np.zeros(2, "float32")}, 2))
    result = json.loads(succeeds("weights", "fetch", "GhostNet_x0_5", "--mirror", "mirror", "--json", cwd=tmp_path))
    assert result["next"] == f"ssld weights import weights/{file} --arch GhostNet_x0_5 --revision 1.x"


def test_the_network_of_an_evaluation_is_of_the_revision_that_the_weights_are_of(tmp_path):
    fake(tmp_path, 4, train=0, unlabelled=0, val=8, size=240)
    logits = {}
    for revision in ("1.x", "2.x"):
        paddle.seed(0)
        model = models.create("GhostNet_x0_5", revision=revision)
        model.head.fc.weight.set_value(1e-4 * model.head.fc.weight)
        model.head.fc.bias.set_value(np.eye(1000, dtype="float32")[1])
        weights.save(model, tmp_path / f"{revision}.safetensors")
        words = ("eval", "GhostNet_x0_5", "--weights", f"{revision}.safetensors", "--data", "val.txt")
        logits[revision] = json.loads(succeeds(*words, cwd=tmp_path))["nll"]
    assert logits["1.x"] != logits["2.x"]  # the same numbers, features x 0.8
