"""Losses and gradients are those of the official code of each method, on seeded inputs in float64."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.parity.golden_methods import METHODS, run

FOLDER = Path(__file__).parent / "data" / "golden"
OUTPUT = re.compile(r"(^|[._])(loss|grad)|\.out$|^memory_v[12]_[12]$")
TOLERANCE = 1e-7  # of the largest number of an array, or of 1


def test_every_method_has_its_golden_file():
    assert {file.stem for file in FOLDER.glob("*.npz")} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_computes_what_its_official_code_computes(name):
    with np.load(FOLDER / f"{name}.npz") as held:
        arrays = {key: held[key] for key in held.files if key != "meta"}
        meta = json.loads(str(held["meta"]))
    wanted = [key for key in arrays if OUTPUT.search(key)]
    assert any(key.startswith("loss") or ".loss" in key for key in wanted)
    assert any("grad" in key for key in wanted)
    inputs = {key: value for key, value in arrays.items() if key not in wanted}
    found = run(name, inputs, {**meta, "wanted": wanted})
    for key in wanted:
        limit = TOLERANCE * max(1.0, float(np.abs(arrays[key]).max()))
        np.testing.assert_allclose(found[key], arrays[key], rtol=0, atol=limit, err_msg=f"{name}: {key}")
