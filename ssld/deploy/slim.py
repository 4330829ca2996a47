"""A quantised program of Paddle 2, the one that oneDNN runs in int8: PaddleSlim's, trained so or only calibrated.

Weights int8 with a scale a channel, activations with the moving average of their largest values on the images.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy.child import reason
from ssld.errors import DeployError

BATCH = 16


def write(network: Any, prefix: Path, spec: Any, images: np.ndarray | None) -> None:
    """Write `.pdmodel` and `.pdiparams` of a quantised network, or of a float one's quantised copy.

    `images`, as the network takes them, give the copy its ranges. Raises DeployError when the network cannot be
    quantised or traced.
    """
    from ssld.quantize import calibrate, quantise, quantised, save

    try:
        network = copy.deepcopy(network)  # `save` spends it
        if not quantised(network):
            assert images is not None
            quantise(network)
            calibrate(network, [images[start : start + BATCH] for start in range(0, len(images), BATCH)])
        save(network, str(prefix), spec)
    except OSError:
        raise
    except Exception as error:  # tracing runs the model's own code: anything may come out of it
        raise DeployError(f"{prefix.name}: PaddleSlim cannot quantise the network; {reason(str(error))}") from error
