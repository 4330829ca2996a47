"""The digits of scikit-learn at 16 x 16 pixels, as a user's own data set. The first 1,000 are for training."""

import numpy as np
from sklearn.datasets import load_digits

PIXELS, LABELS = load_digits(return_X_y=True)


def _samples(numbers):
    for number in numbers:
        grey = (PIXELS[number].reshape(8, 8) * 255 / 16).round().astype("uint8")
        yield np.repeat(grey.repeat(2, axis=0).repeat(2, axis=1)[..., None], 3, axis=2), int(LABELS[number])


def train():
    return _samples(range(48))


def val():
    return _samples(range(1000, 1096))
