"""These tests ask whether the bounds of the gate let rounding pass and stop the smallest mistakes."""

import copy
from dataclasses import replace
from math import sqrt

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.deploy import Allowed, rounding
from ssld.deploy.gate import Trial, bounds, eager_logits, judge

IMAGES = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype("float32")


class Swapped(nn.Layer):
    """A network after which two classes are exchanged, which nearly cancelled before: logits are small differences."""

    def __init__(self, size: float):
        super().__init__()
        paddle.seed(0)
        self.body = nn.Sequential(nn.Conv2D(3, 64, 3, 2), nn.Hardswish(), nn.AdaptiveAvgPool2D(1), nn.Flatten())
        self.head = nn.Linear(64, 5)
        self.size = size

    def forward(self, image):
        features = self.body(image) + self.size
        return self.head(features) - self.head(paddle.full_like(features, self.size))


def as_trial(model, **changes):
    logits = eager_logits(model, IMAGES)
    return replace(Trial(IMAGES, IMAGES, None, logits, logits, 1.0, 32, is_slice=True), **changes)


EXACT = Allowed(0.0)


def judged(model, answer, allowed=EXACT, precision="fp32"):
    trial = as_trial(model)
    return judge("file", trial, answer, allowed, *bounds(model, trial, answer, allowed, precision))


def other_order(model, images):
    """Logits of the same network whose channels, and so its sums, are in another order."""
    other = copy.deepcopy(model)
    order = np.random.default_rng(1).permutation(64)
    conv, head = other.body[0], other.head
    conv.weight.set_value(conv.weight.numpy()[order])
    conv.bias.set_value(conv.bias.numpy()[order])
    head.weight.set_value(head.weight.numpy()[order])
    return eager_logits(other, images)


def test_the_share_follows_from_the_format_and_the_depth():
    """ResNet18: a 7 x 7 convolution of 3 channels, then those of its blocks, four shortcuts, 512 features."""
    blocks = 4 * 9 * 64 + (9 * 64 + 3 * 9 * 128) + (9 * 128 + 3 * 9 * 256) + (9 * 256 + 3 * 9 * 512)
    products = 49 * 3 + blocks + (64 + 64 + 128 + 256) + 512
    model = models.create("ResNet18", num_classes=10, in_size=32)
    assert rounding.depth(model) == (22, products)
    assert rounding.share(model, "fp32") == pytest.approx(4 * 2**-24 * sqrt(2 * products))
    assert rounding.share(model, "fp16") == pytest.approx(4 * 2**-11 * sqrt(2 * 22))


def test_a_network_of_next_to_no_depth_has_the_least_share():
    assert rounding.depth(nn.Linear(4, 2)) == (1, 4)
    assert rounding.depth(nn.Flatten()) == (0, 0)
    assert rounding.share(nn.Flatten(), "fp32") == rounding.LEAST


def test_sums_in_another_order_are_within_the_bound():
    model = Swapped(0.0)
    assert judged(model, other_order(model, IMAGES)) is None


def test_a_network_that_multiplies_its_rounding_is_given_what_it_multiplies():
    """Logits that are differences of 300 times larger numbers: by the rule alone every true file is refused."""
    model = Swapped(300.0)
    trial, answer = as_trial(model), other_order(model, IMAGES)
    by_rule = rounding.share(model, "fp32") * np.abs(trial.logits).max()
    diff = np.abs(answer - trial.logits).max()
    assert diff > by_rule
    bound, margin = bounds(model, trial, answer, Allowed(0.0), "fp32")
    assert by_rule < diff < bound == margin / 2 <= rounding.MOST * by_rule
    assert judged(model, answer) is None


def test_a_mistake_is_no_rounding_in_such_a_network_either():
    model = Swapped(300.0)
    wrong = copy.deepcopy(model)
    wrong.head.weight.set_value(wrong.head.weight * 1.02)
    assert "differs from the model, max |diff| of logits" in str(judged(model, eager_logits(wrong, IMAGES)))


@pytest.mark.parametrize("arch", ["MobileNetV3_small_x0_35", "ResNet18"])
def test_the_smallest_mistake_that_was_tried_is_stopped(arch):
    """An epsilon of the batch norms of 1e-3 in place of 1e-5."""
    paddle.seed(0)
    model = models.create(arch, num_classes=10, in_size=32)
    wrong = copy.deepcopy(model)
    for layer in wrong.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer._epsilon = 1e-3
    assert "differs from the model, max |diff| of logits" in str(judged(model, eager_logits(wrong, IMAGES)))


class Dropped(nn.Layer):
    """A network that never answers the same twice, which is no rounding."""

    def __init__(self):
        super().__init__()
        self.net = Swapped(0.0)

    def forward(self, image):
        return nn.functional.dropout(self.net(image), 0.5, training=True)


class OnlyFloat32(nn.Layer):
    """A network with a number in float32 that no other type goes with."""

    def __init__(self):
        super().__init__()
        self.net = Swapped(300.0)

    def forward(self, image):
        return paddle.matmul(self.net(image), paddle.eye(5, dtype="float32"))


def test_a_network_of_chance_and_one_without_float64_are_held_to_the_rule():
    model = Dropped()
    assert "differs from the model" in str(judged(model, eager_logits(model, IMAGES)))
    model = OnlyFloat32()
    trial = as_trial(model)
    assert rounding.own_error(model, IMAGES, trial.logits) == 0.0
    bound, _ = bounds(model, trial, trial.logits + 1e6, Allowed(0.0), "fp32")
    assert bound == rounding.share(model, "fp32") * np.abs(trial.logits).max()


def test_a_share_that_is_given_is_held_to_exactly():
    model = Swapped(0.0)
    logits = eager_logits(model, IMAGES)
    largest = float(np.abs(logits).max())
    answer = logits + np.float32(1e-3 * largest)
    assert judged(model, answer, Allowed(0.0, 2e-3)) is None
    assert f"> bound {5e-4 * largest:.3g}" in str(judged(model, answer, Allowed(0.0, 5e-4)))
    assert "differs from the model" in str(judged(model, other_order(model, IMAGES), Allowed(0.0, 1e-12)))


def test_with_a_wide_share_another_class_still_counts_unless_rounding_explains_it():
    model = Swapped(0.0)
    logits = eager_logits(model, IMAGES)
    swapped = logits.copy()
    swapped[0, np.argsort(-logits[0])[:2]] = swapped[0, np.argsort(-logits[0])[1::-1]]
    assert "another top-1 on 1 of 8 images, the first is image 0" in str(judged(model, swapped, Allowed(0.0, 10.0)))
    assert judged(model, swapped, Allowed(100.0, 10.0)) is None


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_bound_of_probabilities_is_half_that_of_logits(precision):
    model = Swapped(0.0)
    of_logits, of_probabilities = as_trial(model), as_trial(model, steepness=0.5)
    bound, _ = bounds(model, of_logits, of_logits.logits, Allowed(0.0), precision)
    half, _ = bounds(model, of_probabilities, of_probabilities.logits, Allowed(0.0), precision)
    assert bound == rounding.share(model, precision) * np.abs(of_logits.logits).max() == 2 * half
