"""How much the rounding of each layer alone moves the answers of a network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ssld.quantize.slim import calibrate, duplicate, largest, layers, quantise, quantised


def sensitivities(
    network: nn.Layer, batches: Sequence[Any], progress: Callable[[int], None] = lambda layers: None
) -> dict[str, float]:
    """Name of a layer -> mean KL(float || this layer alone in int8) of the class probabilities, in nats, on the images.

    `batches` of images float32 [n, 3, S, S] also give the ranges. `progress` is told the number of layers done. The
    float network is left as it was, in evaluation mode.
    """
    network.eval()
    whole = quantise(duplicate(network))
    calibrate(whole, batches)
    ranges, wanted, found = largest(whole), log_probabilities(network, batches), {}
    for name in ranges:
        trial = quantise(duplicate(network), keep=layers(network).keys() - {name})
        trial.eval()
        quantised(trial)[name]._fake_quant_input._scale.set_value(paddle.to_tensor([ranges[name]]))
        found[name] = float(F.kl_div(log_probabilities(trial, batches), wanted, "batchmean", log_target=True))
        progress(len(found))
    return found


def most_sensitive(found: Mapping[str, float], number: int) -> list[str]:
    """The names of the `number` largest, the largest first; of equal ones the earlier layer."""
    return sorted(found, key=lambda name: -found[name])[:number]


@paddle.no_grad()
def log_probabilities(network: nn.Layer, batches: Sequence[Any]) -> Any:
    """float32 [n, classes] over all images."""
    return paddle.concat([F.log_softmax(network(paddle.to_tensor(batch)), axis=1) for batch in batches])
