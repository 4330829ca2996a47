"""`ssld eval`: the images of an evaluation are prepared as the card and the list say."""

import json

import numpy as np
import paddle
import pytest

from ssld import models, weights
from ssld.commands.eval import eval_
from ssld.config import cards
from ssld.data import EvalLoader, fake, read_list
from ssld.distill.evaluate import predict
from ssld.distill.metrics import score

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
