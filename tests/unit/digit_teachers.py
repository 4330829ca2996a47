"""A recipe on the digits of scikit-learn with teachers from every source, and tiny networks, for tests of teachers."""

from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"

STAGE: dict[str, Any] = {
    "data": {
        "train": ["digits.py:train"],
        "val": "digits.py:val",
        "size": 16,
        "eval_resize": 16,
        "batch": 16,
        "eval_batch": 48,
        "threads": 1,
    },
    "optim": {"lr": 0.05},
    "epochs": 1,
}
BASE: dict[str, Any] = {
    "classes": 10,
    "code": ["losses.py", "nets.py"],
    "student": {"code": "nets.py:Tiny", "taps": {"map": "body"}},
    "stage": STAGE,
    "export": {"formats": ["paddle"], "gate_images": 8},
    "bench": {"engines": ["paddle"], "repeats": 1, "warmup": 1},
}
FIRST: dict[str, Any] = {**BASE, "stages": {"plain": {"loss": {"ce": {}}}}}  # the run in the folder `first`
INPUT = {"size": 16, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # of that run
ONNX: dict[str, Any] = {  # a ShuffleNetV2 of torchvision, trained on these digits
    "onnx": str(DATA / "torchvision_digits.onnx"),
    "input": {"size": 16, "mean": [0.3] * 3, "std": [0.4] * 3},
    "gives": "logits",
    "taps": {"embedding": "mean"},
}
PROGRAM: dict[str, Any] = {"program": "first/export", "input": INPUT, "gives": "logits", "gate": 0}
RUN: dict[str, Any] = {"run": "first", "norm": "running", "gate": 0}
WEIGHTS: dict[str, Any] = {  # those of `first`, which a test copies to this name
    "code": "nets.py:Tiny", "weights": "tiny.safetensors", "input": INPUT, "norm": "running", "gate": 0,
    "taps": {"map": "body"},
}  # fmt: skip
LARGE: dict[str, Any] = {"code": "nets.py:Large", "stage": "teach", "taps": {"map": "body"}}


def taught(teacher: dict[str, Any], loss: dict[str, Any] | None = None, /, **stage: Any) -> dict[str, Any]:
    """The recipe whose only stage learns from one teacher, named `t`."""
    return {**BASE, "teachers": {"t": teacher}, "stages": {"one": {"loss": loss or {"kl": {}}, **stage}}}
