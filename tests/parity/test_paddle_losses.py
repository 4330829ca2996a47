"""The losses of PaddleClas on logits, most of which differ from the official code of their methods."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.golden_methods import golden_logit

LOSSES = ("kldiv_", "dml_", "dkd_", "dist_", "wsl_", "skd_", "celoss_")
TOLERANCE = 1e-5  # PaddleClas computes in single precision, or adds 1e-12


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parent / "data" / "golden" / "paddle_losses.npz") as file:
        assert json.loads(str(file["meta"]))["dtype"] == "float64"
        return {key: file[key] for key in file.files if key.startswith((*LOSSES, "z_", "target"))}


def test_a_loss_of_logits_is_the_one_of_paddleclas_in_value_and_gradients(arrays):
    wanted = [key for key in arrays if key.startswith(LOSSES)]
    computed = golden_logit.paddle_logits({key: arrays[key] for key in arrays if key not in wanted}, wanted)
    assert len(wanted) == 21
    assert set(wanted) == set(computed)
    for key in wanted:
        limit = TOLERANCE * max(1.0, float(np.abs(arrays[key]).max()))
        np.testing.assert_allclose(computed[key], arrays[key], rtol=0, atol=limit, err_msg=key)
