"""`ssld eval`: the images of an evaluation are prepared as the card and the list say."""

import json

import numpy as np
import paddle
import pytest

from ssld import cli, models, weights
from ssld.commands.eval import eval_
from ssld.commands.reproduce import reproduce
from ssld.config import cards
from ssld.config.mine_step import Mine
from ssld.config.recipe import Data
from ssld.data import EvalLoader, fake, read_list
from ssld.distill import teacher_mining
from ssld.distill.evaluate import predict
from ssld.distill.metrics import score
from ssld.distill.teacher_weights import recorded_input, save_trained
from ssld.errors import WeightsError

ARCH = "MobileNetV3_small_x0_35"


def test_images_that_are_centre_crops_already_are_not_cropped_again(tmp_path):
    paddle.seed(0)
    model = models.create(ARCH)
    model.head.fc.weight.set_value(1e5 * model.head.fc.weight)  # fresh weights say the same of every image
    weights.save(model, tmp_path / "file.safetensors")
    listed = fake(tmp_path, 4, train=0, unlabelled=0, val=3, size=224)["val"]
    files, given = read_list(listed, tmp_path), cards.find_model(ARCH).input

    def nll(resize):
        loader = EvalLoader(files, size=224, resize=resize, batch=3, mean=given.mean, std=given.std)
        return score(*predict(model, loader)).nll.mean()

    def evaluated():
        return eval_(target=ARCH, weights=str(tmp_path / "file.safetensors"), data=str(listed), device="cpu")

    assert given.resize == 256
    assert nll(224) != pytest.approx(nll(256), rel=1e-4)
    assert evaluated()["nll"] == pytest.approx(nll(256), rel=1e-5)
    listed.with_suffix(".scoring.json").write_text(json.dumps({"corruptions": [["fog", 1, 2], ["fog", 2, 1]]}))
    found = evaluated()
    assert found["nll"] == pytest.approx(nll(224), rel=1e-5)
    assert found["corruptions"].keys() == {"fog"}
    assert found["mce"] is None


LOOK = {"size": 24, "eval_size": 28, "eval_resize": 31, "interpolation": "cubic", "mean": (0.4, 0.5, 0.6)}


@pytest.fixture
def trained(tmp_path):
    """A network of three classes, its file, as a stage writes it, and the list of images."""
    paddle.seed(0)
    model = models.create(ARCH, num_classes=3, in_size=28)
    model.head.fc.weight.set_value(1e5 * model.head.fc.weight)
    data = Data(train=("t",), val="v", background=(9, 8, 7), **LOOK)
    save_trained(model, tmp_path / "mine.safetensors", data, digest="d")
    return model, tmp_path / "mine.safetensors", fake(tmp_path, 3, train=0, unlabelled=0, val=6, size=40)["val"]


def test_weights_of_a_training_of_ones_own_remember_the_images_they_were_trained_for(trained, tmp_path, capsys):
    model, file, listed = trained
    loader = EvalLoader(
        read_list(listed, tmp_path), size=28, resize=31, batch=6, mean=(0.4, 0.5, 0.6), std=(0.229, 0.224, 0.225),
        interpolation="cubic", background=(9, 8, 7),
    )  # fmt: skip
    truth = score(*predict(model, loader)).nll.mean()
    found = eval_(target=ARCH, weights=str(file), data=str(listed), device="cpu")
    assert found["nll"] == pytest.approx(truth, rel=1e-5)
    assert "published_top1" not in found
    assert "size 28 (card: 224), resize 31 (card: 256)" in capsys.readouterr().err
    shown = recorded_input(file)
    assert (shown.size, shown.resize, shown.interpolation) == (28, 31, "cubic")
    weights.convert(file, ARCH, tmp_path / "imported.safetensors")
    assert recorded_input(tmp_path / "imported.safetensors") == shown
    step = Mine(sources=("pool",), against="val.txt", teacher="ResNet50_vd", k=1, weights=str(file))
    assert teacher_mining.trained(step)[0].input == shown
    words = ["reproduce", ARCH, "--weights", str(file), "--data", str(listed), "--device", "cpu"]
    with pytest.raises(WeightsError, match=f"`ssld eval {ARCH} --weights .*mine.safetensors` evaluates it"):
        reproduce(**cli.options(cli._parse(words)))


def test_the_bytes_of_weights_do_not_depend_on_the_images_and_a_damaged_file_beside_them_is_one_line(trained, tmp_path):
    model, file, _ = trained
    weights.save(model, tmp_path / "alone.safetensors", digest="d")
    assert file.read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    beside = tmp_path / "mine.facts.json"
    weights.save(model, file, digest="another")  # the file beside them is that of other weights
    assert recorded_input(file) is None
    beside.write_text(beside.read_text()[:20])
    with pytest.raises(
        WeightsError, match=r"mine\.facts\.json: damaged .*; remove it, and images are shown as the card says"
    ):
        recorded_input(file)
    beside.unlink()
    assert recorded_input(file) is None


def test_weights_of_a_training_that_do_not_say_their_images_are_shown_those_of_the_card_with_a_remark(
    trained, tmp_path, capsys
):
    model, _, listed = trained
    weights.save(model, tmp_path / "old.safetensors", digest="d")
    eval_(target=ARCH, weights=str(tmp_path / "old.safetensors"), data=str(listed), device="cpu")
    assert "old.safetensors: does not say for which images it was trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    "record",
    [
        *("", "[]", "{}", "9" * 9, "[" * 10_000, '{"size": 8}'),
        '{"size": 99999, "resize": 99999, "mean": [0,0,0], "std": [1,1,1]}',
        '{"size": 8, "resize": 8, "mean": [0,0,0], "std": [1,0,1]}',
    ],
)
def test_a_record_of_the_images_that_cannot_be_used_is_one_line(record, tmp_path):
    weights.save({"w": np.zeros(1, "float32")}, tmp_path / "odd.safetensors", input=record)
    with pytest.raises(WeightsError, match="its record of the input") as caught:
        recorded_input(tmp_path / "odd.safetensors")
    assert "\n" not in str(caught.value)


def test_a_claim_stands_beside_a_measurement_on_its_own_images_alone(tmp_path, monkeypatch):
    """Both lists have labels of the thousand classes; the images are not there, and nothing is measured."""
    weights.save(models.create(ARCH), tmp_path / "file.safetensors")
    monkeypatch.setattr("ssld.commands.eval.scores_on", lambda *_: {"top1": 50.0})
    labels = np.repeat(np.arange(1000), 50)
    told = {}
    for count in (50_000, 49_999):
        lines = [f"val/{number}.JPEG {label}\n" for number, label in enumerate(labels[:count])]
        (tmp_path / "list.txt").write_text("".join(lines))
        told[count] = eval_(
            target=ARCH, weights=str(tmp_path / "file.safetensors"), data=str(tmp_path / "list.txt"), device="cpu"
        )
    assert (told[50_000]["published_top1"], told[50_000]["difference"]) == (53.03, -3.03)
    assert "not_compared" not in told[50_000]
    assert "published_top1" not in told[49_999]
    assert told[49_999]["not_compared"].endswith("this list has 49,999 different images of 1,000 classes")
