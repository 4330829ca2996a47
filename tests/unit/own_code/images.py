"""A data set of a user's own: squares of four colours. Each image follows from its number."""

import numpy as np


class Train:
    class_names = ("red", "green", "blue", "grey")

    def __len__(self):
        return 32

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 100, (20, 20, 3), dtype="uint8")
        if index % 4 < 3:
            image[..., index % 4] += 120
        return image, index % 4


class Val(Train):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image[:, ::-1].copy(), label
