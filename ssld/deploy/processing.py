"""This module puts processing into an exported file: normalisation before the network, a softmax after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from paddle import Tensor
    from paddle.nn import Layer


def with_processing(model: Layer, input_spec: dict[str, Any], *, preprocess: bool, softmax: bool) -> Layer:
    """Return a paddle Layer that holds the network and its processing, or the network itself where neither is asked
    for.

    input_spec: the contract's `input`, of which mean and std are used. preprocess: the layer takes uint8 [n, H, W, 3],
    RGB, already resized and cropped, in place of normalised float32 [n, 3, H, W]. softmax: it returns probabilities in
    place of logits.
    """
    import paddle

    class NetworkWithProcessing(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.network = model
            scale = 1 / (255 * np.array(input_spec["std"], "float64"))
            shift = -np.array(input_spec["mean"], "float64") / np.array(input_spec["std"], "float64")
            self.register_buffer("scale", paddle.to_tensor(scale.astype("float32")))
            self.register_buffer("shift", paddle.to_tensor(shift.astype("float32")))

        def forward(self, image: Tensor) -> Tensor:
            if preprocess:
                image = (image.astype("float32") * self.scale + self.shift).transpose([0, 3, 1, 2])
            logits = self.network(image)
            return paddle.nn.functional.softmax(logits, axis=1) if softmax else logits

    return NetworkWithProcessing() if preprocess or softmax else model


def as_file_input(images: np.ndarray, input_spec: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Turn normalised images float32 [n, 3, H, W] into what the file takes, and into what the network in it then gets.

    A file that normalises takes pixels, rounded to uint8 [n, H, W, 3]; its network gets those pixels, normalised again.
    """
    if input_spec["dtype"] != "uint8":
        return images, images
    mean, std = (np.array(input_spec[name], "float32")[:, None, None] for name in ("mean", "std"))
    pixels = (255 * (images * std + mean)).round().clip(0, 255)
    network_input = (pixels / np.float32(255) - mean) / std
    return np.ascontiguousarray(pixels.astype("uint8").transpose(0, 2, 3, 1)), network_input.astype("float32")
