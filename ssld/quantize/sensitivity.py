"""This module measures how much the rounding of each layer alone moves the answers of a network."""

from collections.abc import Callable, Mapping, Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from ssld.quantize.simulated_int8 import Images, calibrate, duplicate, largest, layers, quantise, quantised


def sensitivities(
    network: nn.Layer, batches: Sequence[Images], progress: Callable[[int], None] = lambda layers: None
) -> dict[str, float]:
    """Return {name of a layer: mean KL(float || this layer alone in int8)} of the class probabilities, in nats, on the
    images.

    batches: images float32 [n, 3, S, S]; they also give the ranges. progress: it is called with the number of layers
    that are finished. The float network is left as it was, in evaluation mode.
    """
    network.eval()
    rounded_network = quantise(duplicate(network))
    calibrate(rounded_network, batches)
    ranges, float_answers, result = largest(rounded_network), log_probabilities(network, batches), {}
    for name in ranges:
        trial = quantise(duplicate(network), keep=layers(network).keys() - {name})
        trial.eval()
        quantised(trial)[name]._fake_quant_input._scale.set_value(paddle.to_tensor([ranges[name]]))
        result[name] = float(F.kl_div(log_probabilities(trial, batches), float_answers, "batchmean", log_target=True))
        progress(len(result))
    return result


def most_sensitive(values: Mapping[str, float], number: int) -> list[str]:
    """Return the names of the `number` largest values, the largest first.

    Of equal ones the earlier layer comes first.
    """
    return sorted(values, key=lambda name: -values[name])[:number]


@paddle.no_grad()
def log_probabilities(network: nn.Layer, batches: Sequence[Images]) -> paddle.Tensor:
    """Return the log probabilities of all images, float32 [n, classes]."""
    return paddle.concat([F.log_softmax(network(paddle.to_tensor(batch)), axis=1) for batch in batches])
