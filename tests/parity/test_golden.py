"""Losses and gradients are those of the official code of each method, on seeded inputs in float64."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.parity.golden_methods import METHODS, run

FOLDER = Path(__file__).parent / "data" / "golden"
OUTPUT = re.compile(r"(^|[._])(loss|grad)")
MORE = {  # what else of a file is an output
    "sskd": r"^(total|ce|kl|ss|tf)$",
    "crd": r"^memory_v[12]_[12]$",
    "mlkd": r"^(total|(kd|cc|bc)_)",
    "reviewkd": r"^out_\d$",
    "ofd": r"^margin_",
    "simkd": r"^(projected|logits)$",
    "fitnet": r"\.out$",
    "multi_teacher": r"_weight$",
    "wkd": r"^f_(mean|std)_grid",
    "lskd": r"^normalised_z_s$",
    "ctkd": r"^temp_",
}
UPDATED = re.compile(r"^[wb]_[1-9]$")  # parameters after a step of an optimiser, whose inputs are gradients
FLOAT32 = {"paddle_losses": 1e-5}  # computed in single precision by the official code
TOLERANCE = 1e-7  # of the largest number of an array, or of 1


def is_output(name: str, key: str) -> bool:
    if name == "dot":
        return bool(UPDATED.match(key))
    return bool(OUTPUT.search(key) or re.search(MORE.get(name, r"(?!)"), key))


def test_every_golden_file_has_its_method():
    assert {file.stem for file in FOLDER.glob("*.npz")} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_computes_what_its_official_code_computes(name):
    with np.load(FOLDER / f"{name}.npz") as held:
        arrays = {key: held[key] for key in held.files if key != "meta"}
        meta = json.loads(str(held["meta"]))
    wanted = [key for key in arrays if is_output(name, key)]
    assert wanted
    inputs = {key: value for key, value in arrays.items() if key not in wanted}
    found = run(name, inputs, {**meta, "wanted": wanted})
    for key in wanted:
        limit = FLOAT32.get(name, TOLERANCE) * max(1.0, float(np.abs(arrays[key]).max()))
        np.testing.assert_allclose(found[key], arrays[key], rtol=0, atol=limit, err_msg=f"{name}: {key}")
