"""This module writes a quantised program of Paddle 2, which oneDNN runs in int8.

PaddleSlim makes it, of a network that was trained in int8 or is only calibrated. Weights are int8 with a scale a
channel, activations have the moving average of their largest values on the images.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssld.deploy.child_process import reason
from ssld.errors import DeployError

if TYPE_CHECKING:
    from paddle.nn import Layer
    from paddle.static import InputSpec

BATCH = 16


def write(network: Layer, prefix: Path, spec: InputSpec, images: np.ndarray | None) -> None:
    """Write `.pdmodel` and `.pdiparams` of a quantised network, or of the quantised copy of a float network.

    images: as the network takes them; they give the copy its ranges. Raises DeployError when the network cannot be
    quantised or traced.
    """
    from ssld.quantize import calibrate, quantise, quantised, save

    try:
        network = copy.deepcopy(network)  # `save` leaves it of no further use
        if not quantised(network):
            assert images is not None
            quantise(network)
            calibrate(network, [images[start : start + BATCH] for start in range(0, len(images), BATCH)])
        save(network, str(prefix), spec)
    except OSError:
        raise
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        raise DeployError(f"{prefix.name}: PaddleSlim cannot quantise the network; {reason(str(error))}") from error
