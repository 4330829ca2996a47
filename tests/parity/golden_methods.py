"""Our losses on the inputs of golden files: values and gradients, as the official code of each method gives them.

A golden file (`tests/parity/data/golden/<name>.npz`) holds seeded inputs and what the official code computes from them,
in float64, with PyTorch's layout of parameters. `run` is given the inputs and the names of what is wanted, and returns
arrays by these names, or None for a method that is not here. The methods stand in the files `golden_*.py` beside this
one, one file a group.
"""

import sys
from pathlib import Path

import paddle

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that the files beside this one are found wherever it runs

import golden_feature
import golden_logit
import golden_paddle
import golden_relation
from golden_tools import Arrays, Method

GROUPS = (golden_logit, golden_feature, golden_relation, golden_paddle)
METHODS: dict[str, Method] = {name: method for group in GROUPS for name, method in group.METHODS.items()}


def run(name: str, inputs: Arrays, meta: dict) -> Arrays | None:
    """What our code computes of a golden file."""
    if name not in METHODS:
        return None
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")  # of the layers that losses make
    try:
        return METHODS[name](inputs, meta["wanted"])
    finally:
        paddle.set_default_dtype(before)
