"""What every network promises beyond its logits: it trains, it taps, it is exported. One a series, or all (`zoo`)."""

import subprocess
import sys

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.deploy import release, rounding
from tests.parity.reference import one_of_each_series, rescaled, weights
from tests.unit.stage_outputs import stages

SIZE = 64
SIZES = {"inception_v3": 75, "inception_v4": 75}  # pixels, of the series that need more


def size_of(arch):
    return SIZES.get(models.series(arch), SIZE)


def images_of(arch, number=2):
    return np.random.default_rng(0).standard_normal((number, 3, size_of(arch), size_of(arch))).astype("float32")


def small(arch, **options):
    paddle.seed(0)
    return models.create(arch, **{"num_classes": 10, "in_size": size_of(arch)} | options)


@pytest.mark.parametrize("arch", one_of_each_series())
def test_every_parameter_gets_a_gradient(arch):
    model, images = small(arch), paddle.to_tensor(images_of(arch))
    outputs = model.heads(images) if hasattr(model, "heads") else [model(images)]
    assert [output.shape for output in outputs] == [[2, 10]] * len(outputs)
    paddle.add_n([output.square().sum() for output in outputs]).backward()
    without = [key for key, p in model.named_parameters() if not p.stop_gradient and p.grad is None]
    assert without == []


@pytest.mark.parametrize("arch", one_of_each_series())
def test_evaluation_repeats_itself_and_a_compiled_network_agrees(arch, tmp_path, monkeypatch):
    """Paddle compiles it without writing its code anew, which takes many times as long; it would write below HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    model, images = small(arch), paddle.to_tensor(images_of(arch))
    model.eval()
    with paddle.no_grad():
        first, again = model(images).numpy(), model(images).numpy()
        taps = stages(model, images)
        compiled = paddle.jit.to_static(model, full_graph=True)(images).numpy()
    assert not list(tmp_path.rglob("*.py"))
    assert (first == again).all()
    assert list(taps) == [f"stage{n}" for n in range(1, len(taps) + 1)]
    sides = [tap.shape[2] for tap in taps.values()]
    assert sides == sorted(sides, reverse=True)
    np.testing.assert_allclose(compiled, first, rtol=0, atol=rounding.share(model, "fp32") * np.abs(first).max())


def draw_weights(model, arch):
    """Those of the reference; fully connected layers of a larger image do not fit and stay."""
    state, names = model.state_dict(), models.keymap(arch)
    drawn = weights(arch)
    for name, array in (drawn | rescaled(arch, drawn)).items():
        if list(state[names[name]].shape) == list(array.shape):
            state[names[name]].set_value(array)


@pytest.mark.parametrize("arch", one_of_each_series())
def test_exports_answer_as_the_network(arch, tmp_path):
    """Through the gate, which runs Paddle Inference and ONNX Runtime on these images."""
    model = small(arch, num_classes=1000)
    draw_weights(model, arch)
    given = {"size": size_of(arch), "mean": [0.5] * 3, "std": [0.5] * 3, "resize": size_of(arch)}
    contract = {"arch": arch, "classes": 1000, "digest": "b" * 64, "input": given}
    formats = release(model, tmp_path / "export", images_of(arch, 3), name=arch, contract=contract)
    assert {name: result["agree"] for name, result in formats.items()} == {"paddle": 100.0, "onnx": 100.0}


PEAK = """
import re, sys
import paddle
from ssld import models

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

models.create("SqueezeNet1_1")
before = peak()
model = models.create(sys.argv[1])
print((peak() - before) / sum(4 * p.size for p in model.parameters()))
"""


@pytest.mark.parametrize("arch", ["ResNeXt101_32x8d_wsl", pytest.param("ResNeXt101_32x48d_wsl", marks=pytest.mark.zoo)])
def test_building_a_network_takes_little_more_memory_than_its_parameters(arch):
    words = [sys.executable, "-W", "ignore", "-c", PEAK, arch]
    share = subprocess.run(words, capture_output=True, text=True, timeout=280, check=True).stdout
    assert 0.9 < float(share) < 1.2
