"""What an exported file may hold beside the network: the normalisation before it, the softmax after it."""

from typing import Any

import numpy as np


def with_ends(model: Any, given: dict[str, Any], *, preprocess: bool, softmax: bool) -> Any:
    """The network with its ends, a paddle Layer; `given` is the contract's `input`, of which mean and std are used.

    preprocess: uint8 [n, H, W, 3], RGB, already resized and cropped, in place of float32 [n, 3, H, W], normalised.
    softmax: probabilities in place of logits.
    """
    import paddle

    class Ends(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.network = model
            scale = 1 / (255 * np.array(given["std"], "float64"))
            shift = -np.array(given["mean"], "float64") / np.array(given["std"], "float64")
            self.register_buffer("scale", paddle.to_tensor(scale.astype("float32")))
            self.register_buffer("shift", paddle.to_tensor(shift.astype("float32")))

        def forward(self, image: Any) -> Any:
            if preprocess:
                image = (image.astype("float32") * self.scale + self.shift).transpose([0, 3, 1, 2])
            logits = self.network(image)
            return paddle.nn.functional.softmax(logits, axis=1) if softmax else logits

    return Ends() if preprocess or softmax else model


def as_given(images: np.ndarray, given: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Normalised images float32 [n, 3, H, W] -> what the file takes, and what the network then sees.

    With the normalisation inside the file takes the pixels, rounded to uint8 [n, H, W, 3]; the network sees those.
    """
    if given["dtype"] != "uint8":
        return images, images
    mean, std = (np.array(given[name], "float32")[:, None, None] for name in ("mean", "std"))
    pixels = (255 * (images * std + mean)).round().clip(0, 255)
    seen = (pixels / np.float32(255) - mean) / std
    return np.ascontiguousarray(pixels.astype("uint8").transpose(0, 2, 3, 1)), seen.astype("float32")
