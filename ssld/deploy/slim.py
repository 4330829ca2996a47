"""A quantised program of Paddle 2, the one that oneDNN runs in int8: PaddleSlim's, calibrated and not trained.

Weights int8 with a scale a channel, activations with the moving average of their largest values on the images.
"""

import contextlib
import copy
import io
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy.child import reason
from ssld.errors import DeployError

CONFIG = {
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "quantizable_layer_type": ["Conv2D", "Linear"],
    "onnx_format": True,
}
BATCH = 16
UPDATES = 64
"""Of the moving averages at least: they begin at 1 and forget a tenth of that an update, so this leaves 0.1 %."""


def write(network: Any, prefix: Path, spec: Any, images: np.ndarray) -> None:
    """Write `.pdmodel` and `.pdiparams` of a quantised copy; `images` as the network takes them.

    Only the observers of ranges are in training mode meanwhile: batch norm and dropout are as in an evaluation. Raises
    DeployError when the network cannot be quantised or traced.
    """
    import paddle
    from paddleslim import QAT

    logging.getLogger("paddleslim").setLevel(logging.ERROR)
    quantiser = QAT(config=dict(CONFIG))
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of calls between the two packages
            quantised = quantiser.quantize(copy.deepcopy(network))
            quantised.eval()
            for layer in quantised.sublayers():
                layer.training = type(layer).__module__.startswith("paddle.nn.quant")
            with paddle.no_grad():
                starts = range(0, len(images), BATCH)
                for start in [*starts] * math.ceil(UPDATES / len(starts)):
                    quantised(paddle.to_tensor(images[start : start + BATCH]))
            quantised.eval()
            quantiser.save_quantized_model(quantised, str(prefix), input_spec=[spec])
    except OSError:
        raise
    except Exception as error:  # tracing runs the model's own code: anything may come out of it
        raise DeployError(f"{prefix.name}: PaddleSlim cannot quantise the network; {reason(str(error))}") from error
