"""Mixup and CutMix on Paddle tensors."""

import numpy as np
import paddle
import pytest

from ssld.data import Augment
from ssld.data.mix import draw_mix, mix


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    image = paddle.to_tensor(rng.normal(size=(5, 3, 12, 12)).astype("float32"))
    return {"image": image, "label": paddle.to_tensor(np.array([0, 1, -1, 3, 4])), "index": paddle.arange(5)}


def test_without_mixing_the_batch_is_untouched(batch):
    assert mix(batch, Augment(), 0, 0) is batch


def test_mixup_is_the_convex_sum_with_the_reversed_batch(batch):
    mixed = mix(batch, Augment(mixup=0.4), 3, 7)
    lam, image = mixed["lam"], batch["image"].numpy()
    assert 0 <= lam <= 1
    assert np.abs(mixed["image"].numpy() - (lam * image + (1 - lam) * image[::-1])).max() < 1e-6
    assert mixed["label_b"].tolist() == [4, 3, -1, 1, 0]
    assert mixed["label"].tolist() == [0, 1, -1, 3, 4]


def test_cutmix_takes_one_box_from_the_reversed_batch_and_lam_is_the_share_that_stays(batch):
    image = batch["image"].numpy()
    for number in range(20):
        mixed = mix(batch, Augment(cutmix=1.0), 0, number)
        lam, (top, bottom, left, right) = draw_mix(Augment(cutmix=1.0), 0, number, 12)
        expected = image.copy()
        expected[:, :, top:bottom, left:right] = image[::-1, :, top:bottom, left:right]
        assert (mixed["image"].numpy() == expected).all()
        assert mixed["lam"] == lam == pytest.approx(1 - (bottom - top) * (right - left) / 144)


def test_the_draw_is_a_function_of_seed_and_number_and_follows_the_beta_distribution():
    augment = Augment(mixup=0.2, cutmix=1.0)
    draws = [draw_mix(augment, 1, number, 32) for number in range(2000)]
    assert draws[5] == draw_mix(augment, 1, 5, 32)
    assert draws[5] != draw_mix(augment, 2, 5, 32)
    mixup = np.array([lam for lam, box in draws if box is None])
    assert len(mixup) == pytest.approx(1000, abs=100)
    assert mixup.mean() == pytest.approx(0.5, abs=0.04)
    assert mixup.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)  # variance of Beta(a, a)


def test_mixing_does_not_write_into_the_loaders_buffer(batch):
    before = batch["image"].numpy().copy()
    for number in range(4):
        mix(batch, Augment(mixup=1.0, cutmix=1.0), 0, number)
    assert (batch["image"].numpy() == before).all()
