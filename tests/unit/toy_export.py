"""This module exports a small network, for the tests of engines."""

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ssld.deploy import export_model

SIZE = 16
CONTRACT: dict[str, Any] = {
    "arch": "toy",
    "classes": 4,
    "digest": "d" * 64,
    "input": {"size": SIZE, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": SIZE},
}


def write_toy(folder: Path) -> tuple[nn.Layer, Path]:
    paddle.seed(0)
    model = nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(4, 4))
    export_model(model, folder, name="toy", contract=CONTRACT, formats=["paddle", "paddle2", "onnx"])
    return model, folder


def eager(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(images)).numpy()
