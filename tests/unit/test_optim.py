"""Learning rate, groups without decay, averaged weights: against closed forms and NumPy."""

import math

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld.config.optim import Optim
from ssld.distill.optim import Average, learning_rate, make_optimizer, scale_rates

# --- learning rate


def test_the_warm_up_is_a_straight_line_and_the_rest_half_a_cosine():
    optim = Optim(lr=0.8, warmup_epochs=2)
    rates = [learning_rate(optim, step, 50, steps_per_epoch=5) for step in range(50)]
    warmup = [0.8 * (step + 1) / 10 for step in range(10)]
    cosine = [0.8 * 0.5 * (1 + math.cos(math.pi * k / 40)) for k in range(40)]
    np.testing.assert_allclose(rates, warmup + cosine, rtol=1e-12)
    assert rates[9] == rates[10] == 0.8  # the warm-up ends at the rate that the cosine begins with


def test_without_a_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate(Optim(lr=0.3), 0, 100, 10) == 0.3
    assert learning_rate(Optim(lr=0.3), 50, 100, 10) == pytest.approx(0.15)


def test_the_last_step_is_small_and_not_yet_zero():
    last = learning_rate(Optim(lr=1.0), 99, 100, 10)
    assert 0 < last == pytest.approx(0.5 * (1 - math.cos(math.pi / 100)))


def test_a_constant_rate_still_warms_up():
    optim = Optim(lr=0.5, schedule="constant", warmup_epochs=0.5)
    assert [learning_rate(optim, step, 8, 4) for step in range(8)] == [0.25] + [0.5] * 7


@pytest.mark.parametrize(("steps", "wanted"), [(1, [0.5]), (2, [0.5, 0.5]), (3, [0.25, 0.5, 0.5])])
def test_a_warm_up_longer_than_the_stage_ends_before_its_last_step(steps, wanted):
    assert [learning_rate(Optim(lr=0.5, warmup_epochs=5), step, steps, 100) for step in range(steps)] == wanted


def test_by_epoch_the_cosine_stands_still_within_an_epoch():
    optim = Optim(lr=0.4, schedule="cosine_by_epoch")
    rates = [learning_rate(optim, step, 30, steps_per_epoch=5) for step in range(30)]
    epochs = [0.4 * 0.5 * (1 + math.cos(math.pi * epoch / 6)) for epoch in range(6)]
    np.testing.assert_allclose(rates, np.repeat(epochs, 5), rtol=1e-12)


def test_a_step_schedule_falls_by_gamma_at_its_milestones():
    optim = Optim(lr=0.1, schedule="step", milestones=(1, 2.5, 3), gamma=0.5)
    rates = [learning_rate(optim, step, 16, steps_per_epoch=4) for step in range(16)]
    np.testing.assert_allclose(rates, [0.1] * 4 + [0.05] * 6 + [0.025] * 2 + [0.0125] * 4, rtol=1e-12)


def test_milestones_count_from_the_start_of_the_stage_and_not_from_the_end_of_the_warm_up():
    optim = Optim(lr=0.1, schedule="step", milestones=(2,), warmup_epochs=1)
    rates = [learning_rate(optim, step, 6, steps_per_epoch=2) for step in range(6)]
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.1, 0.1, 0.01, 0.01], rtol=1e-12)


def test_an_exponential_schedule_falls_every_few_epochs_after_the_warm_up():
    optim = Optim(lr=0.032, schedule="exponential", warmup_epochs=1, decay_epochs=2.4, gamma=0.97)
    rates = [learning_rate(optim, step, 40, steps_per_epoch=5) for step in range(40)]
    warmup = [0.032 * (step + 1) / 5 for step in range(5)]
    falls = [0.032 * 0.97**decays for decays in (0, 1, 2) for _ in range(12)]  # 2.4 epochs are 12 steps
    np.testing.assert_allclose(rates, (warmup + falls)[:40], rtol=1e-12)


# --- optimizers


def small_network():
    paddle.seed(3)
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Flatten(), nn.Linear(16, 2))


def parameters(network):
    """Name -> array of what is trained: conv weight and bias, BN scale and shift, linear weight and bias."""
    return {name: value.numpy().copy() for name, value in network.named_parameters() if not value.stop_gradient}


def step_without_gradient(network, optim, steps=1):
    """Relative change of every parameter after steps whose gradients are all zero."""
    for value in network.parameters():
        if not value.stop_gradient and value.ndim == 1:
            value.set_value(paddle.full(value.shape, 2.0))  # what could decay must not be zero
    before = parameters(network)
    optimizer = make_optimizer(optim, [p for p in network.parameters() if not p.stop_gradient])
    for _ in range(steps):
        (sum(p.sum() for p in network.parameters() if not p.stop_gradient) * 0.0).backward()
        optimizer.step()
        optimizer.clear_grad()
    after = parameters(network)
    return {name: after[name] / before[name] - 1 for name in before}


@pytest.mark.parametrize("algorithm", ["momentum", "adamw"])
def test_only_weights_of_two_and_more_dimensions_decay(algorithm):
    changes = step_without_gradient(small_network(), Optim(lr=0.1, algorithm=algorithm, weight_decay=0.5))
    assert list(changes) == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    for name, change in changes.items():
        if name in ("0.weight", "3.weight"):
            np.testing.assert_allclose(change, -0.1 * 0.5, rtol=1e-4)
        else:
            assert not change.any(), name


@pytest.mark.parametrize("algorithm", ["momentum", "adamw"])
def test_with_decay_all_everything_decays(algorithm):
    optim = Optim(lr=0.1, algorithm=algorithm, weight_decay=0.5, decay_all=True)
    for name, change in step_without_gradient(small_network(), optim).items():
        np.testing.assert_allclose(change, -0.1 * 0.5, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("algorithm", ["momentum", "adamw"])
def test_without_weight_decay_nothing_decays(algorithm):
    changes = step_without_gradient(small_network(), Optim(lr=0.1, algorithm=algorithm), steps=2)
    assert not any(change.any() for change in changes.values())


def one_weight(optim, gradients, rates=None, shape=(1, 1)):
    """The values of a single weight 1.0 under given gradients."""
    weight = paddle.create_parameter(shape, "float32", default_initializer=nn.initializer.Constant(1.0))
    optimizer, values = make_optimizer(optim, [weight]), []
    for step, gradient in enumerate(gradients):
        optimizer.set_lr(rates[step] if rates else optim.lr)
        (weight * gradient).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        values.append(weight.item())
    return values


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_the_published_update(nesterov):
    gradients, rates, decay = [1.0, -0.5, 0.25, 2.0], [0.1, 0.2, 0.05, 0.1], 0.1
    optim = Optim(lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=decay)
    weight, velocity, wanted = 1.0, 0.0, []
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient += decay * weight  # L2: joins the gradient
        velocity = 0.9 * velocity + gradient
        weight -= rate * (gradient + 0.9 * velocity if nesterov else velocity)
        wanted.append(weight)
    np.testing.assert_allclose(one_weight(optim, gradients, rates), wanted, rtol=1e-5)


def test_rmsprop_is_the_published_update():
    """The step is scaled before the momentum adds it up, and epsilon stands under the root, as in TensorFlow's."""
    gradients, rates, decay = [1.0, -0.5, 0.25, 2.0], [0.1, 0.2, 0.05, 0.1], 0.1
    optim = Optim(lr=0.1, algorithm="rmsprop", momentum=0.8, rho=0.7, epsilon=0.01, weight_decay=decay)
    weight, square, velocity, wanted = 1.0, 0.0, 0.0, []
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient += decay * weight  # L2: joins the gradient
        square = 0.7 * square + 0.3 * gradient**2
        velocity = 0.8 * velocity + rate * gradient / math.sqrt(square + 0.01)
        weight -= velocity
        wanted.append(weight)
    np.testing.assert_allclose(one_weight(optim, gradients, rates), wanted, rtol=1e-5)


@pytest.mark.parametrize("everything", [False, True])
def test_rmsprop_decays_the_same_parameters_as_momentum(everything):
    optim = Optim(lr=0.1, algorithm="rmsprop", weight_decay=0.5, decay_all=everything)
    moved = {name for name, change in step_without_gradient(small_network(), optim).items() if change.any()}
    assert moved >= {"0.weight", "3.weight"}
    assert (moved >= {"0.bias", "1.weight", "1.bias", "3.bias"}) == everything


def test_adamw_decays_apart_from_the_gradient():
    gradients, decay, rate = [1.0, -0.5, 0.25], 0.1, 0.01
    weight, first, second, wanted = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        weight *= 1 - rate * decay
        weight -= rate * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        wanted.append(weight)
    found = one_weight(Optim(lr=rate, algorithm="adamw", weight_decay=decay), gradients)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_lamb_is_the_step_of_adam_scaled_by_the_length_of_the_weight():
    """arXiv:1904.00962, algorithm 2: |w| / |r + decay w| scales the step. That of a bias stays: no decay."""
    gradients, decay, rate = [1.0, -0.5, 0.25], 0.1, 0.01
    for shape in ((1, 1), (1,)):
        first, second, weight, wanted = 0.0, 0.0, 1.0, []
        for step, gradient in enumerate(gradients, 1):
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            update = (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-6)
            if len(shape) > 1:
                update += decay * weight
                update *= abs(weight) / abs(update)
            weight -= rate * update
            wanted.append(weight)
        optim = Optim(lr=rate, algorithm="lamb", weight_decay=decay)
        np.testing.assert_allclose(one_weight(optim, gradients, shape=shape), wanted, rtol=1e-5)


def test_the_gradient_norm_is_clipped_over_all_groups_together():
    network = small_network()
    trained = [p for p in network.parameters() if not p.stop_gradient]
    before = parameters(network)
    optimizer = make_optimizer(Optim(lr=1.0, momentum=0.0, clip_norm=0.5), trained)
    sum((p * 3.0).sum() for p in trained).backward()
    optimizer.step()
    moved = [after - before[name] for name, after in parameters(network).items()]
    assert math.sqrt(sum(float((change**2).sum()) for change in moved)) == pytest.approx(0.5, rel=1e-4)


# --- rates of stages


class Staged(nn.Layer):
    """A weight 1.0 in stem, two stages, head, and in something beside them."""

    def __init__(self):
        super().__init__()
        self.stem, self.head, self.aux = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
        self.stages = nn.LayerList([nn.Linear(1, 1), nn.Linear(1, 1)])
        for value in self.parameters():
            value.set_value(paddle.ones(value.shape))


MULTIPLES = {"stem": 0.1, "stages.0": 0.0, "stages.1": 0.5, "head": 1.0, "aux": 1.0}


@pytest.mark.parametrize("algorithm", ["momentum", "adamw", "lamb", "rmsprop"])
def test_a_stage_s_multiple_is_that_of_its_whole_step_weight_decay_included(algorithm):
    """Two steps of every weight, as a weight alone takes them at that multiple of the rate."""
    network, numbers = Staged(), {"lr": 0.1, "algorithm": algorithm, "weight_decay": 0.1, "decay_all": True}
    optim = Optim(**numbers, stage_lr=(0.1, 0.0, 0.5))
    scale_rates(optim, network)
    optimizer = make_optimizer(optim, network.parameters())
    gradients, rates = [1.0, -0.5], [0.1, 0.05]
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.set_lr(rate)
        (sum(p.sum() for p in network.parameters()) * gradient).backward()
        optimizer.step()
        optimizer.clear_grad()
    for name, value in network.named_parameters():
        multiple = MULTIPLES[name.rpartition(".")[0]]
        alone = one_weight(Optim(**numbers), gradients, [multiple * rate for rate in rates])[-1]
        assert value.item() == pytest.approx(alone, rel=1e-5), name
    assert network.stages[0].weight.item() == 1.0  # 0 leaves a stage as it is


def test_the_first_step_of_momentum_is_the_multiple_of_gradient_and_l2():
    network, optim = Staged(), Optim(lr=0.1, weight_decay=0.5, stage_lr=(0.1, 0.2, 0.3))
    scale_rates(optim, network)
    optimizer = make_optimizer(optim, network.parameters())
    (sum(p.sum() for p in network.parameters()) * 2.0).backward()
    optimizer.step()
    found = [part.weight.item() for part in (network.stem, *network.stages, network.head)]
    np.testing.assert_allclose(
        found, [1 - 0.1 * multiple * (2.0 + 0.5) for multiple in (0.1, 0.2, 0.3, 1.0)], rtol=1e-6
    )


# --- averaged weights


def test_the_average_is_the_recurrence_with_its_own_warm_up():
    network = small_network()
    average = Average(network, decay=0.6)
    rng = np.random.default_rng(0)
    wanted = {key: value.numpy().astype("float64") for key, value in network.state_dict().items()}
    for step in range(12):
        decay = min(0.6, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            value.set_value(rng.standard_normal(value.shape).astype("float32"))
            wanted[key] = decay * wanted[key] + (1 - decay) * value.numpy()
        average.update(network, step)
    found = average.weights(network)
    assert found.keys() == network.state_dict().keys()  # running statistics too
    for key, value in found.items():
        np.testing.assert_allclose(value.numpy(), wanted[key], atol=1e-5)


def test_an_average_does_not_touch_the_network_and_needs_no_gradient():
    network = small_network()
    average = Average(network, decay=0.9)
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    average.update(network, 0)
    assert all((value.numpy() == before[key]).all() for key, value in network.state_dict().items())
    assert all(value.stop_gradient for value in average.state.values())


def test_without_a_decay_the_network_itself_is_handed_on():
    network = small_network()
    average = Average(network, decay=0.0)
    average.update(network, 0)
    assert average.state == {}
    assert average.weights(network)["0.weight"] is network.state_dict()["0.weight"]
