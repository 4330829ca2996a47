"""Networks against the reference: all its recorded outputs where they lie beside the checkout, a few always.

The weights of both sides are drawn from the reference key and the shape alone, so a wrong layer or a wrong name
changes the logits.
"""

import math
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest

from ssld import models

ROOT = Path(__file__).resolve().parents[2]
CHECKER = ROOT.parent / "shared" / "parity" / "check_parity.py"
SMALL = [
    *("ResNet18", "ResNet34", "ResNet50", "ResNet50_vc", "ResNet18_vd", "ResNet34_vd", "ResNet50_vd"),
    *(name for name in models.names() if name.startswith("MobileNetV3_")),
]


@pytest.mark.slow
@pytest.mark.skipif(not CHECKER.exists(), reason="the recorded reference outputs do not lie beside this checkout")
def test_small_networks_have_the_keys_shapes_and_logits_of_the_reference():
    command = [sys.executable, CHECKER, "oracle:build", *SMALL, "--keymap", "oracle:keymap", "--path", "tests/parity"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert f"{len(SMALL)} passed, 0 failed" in done.stdout, done.stdout + done.stderr


# First logits of the first image at 224 pixels, as the reference gives them (PaddleClas develop, commit d178931).
REFERENCE = {
    "ResNet18": [-1.6434228, 0.5746537, 3.1293933, 0.5595362],
    "ResNet50_vc": [-0.8287651, -0.1682989, -1.1140473, 1.5532514],
    "ResNet18_vd": [-0.7535677, 0.3112921, 1.7825273, 0.4898534],
    "MobileNetV3_small_x0_35": [0.0126578, 0.0740427, -0.0493581, -0.0810838],
    "MobileNetV3_large_x1_0": [-0.0041123, 0.1448549, -0.0161509, -0.0174980],
}


def drawn(key, shape):
    """The weight rule: a generator seeded with the CRC of the key, and a distribution for each kind of parameter."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith(("_mean", ".bias")):
        return rng.standard_normal(shape) * (0.1 if key.endswith("_mean") else 0.05)
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape)
    fan_in = shape[0] if len(shape) == 2 else np.prod(shape[1:])
    return rng.standard_normal(shape) * math.sqrt(2 / fan_in) * 0.7


@pytest.mark.parametrize("name", REFERENCE)
def test_logits_are_those_of_the_reference(name):
    model, images = (
        models.create(name),
        np.random.Generator(np.random.PCG64(20260101)).standard_normal([2, 3, 224, 224]),
    )
    state = model.state_dict()
    for published, key in models.keymap(name).items():
        state[key].set_value(drawn(published, state[key].shape).astype("float32"))
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.to_tensor(images[:1].astype("float32"))).numpy()[0]
    np.testing.assert_allclose(logits[:4], REFERENCE[name], rtol=0, atol=2e-5 * np.abs(logits).max())
