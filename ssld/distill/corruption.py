"""Compute errors under corruption as ImageNet-C defines them (D. Hendrycks and T. Dietterich, arXiv:1903.12261)."""

from typing import TypedDict

import numpy as np

from ssld.distill.metrics import Scored

# Mean top-1 error of AlexNet over the five severities, percent: the errors that the authors of ImageNet-C divide by
# (github.com/hendrycks/robustness), as listed with all their digits in github.com/google-research/augmix, imagenet.py.
ALEXNET = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.2640,
    "defocus_blur": 81.9880,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.8360,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}
SEVERITIES = 5


class Corruption(TypedDict):
    """Hold the errors of one corruption in percent: one for each severity, and their mean."""

    errors: list[float]
    error: float


class Corruptions(TypedDict):
    """Hold the errors of every corruption, by name, their mean, and the mean divided by AlexNet's, all in percent."""

    corruptions: dict[str, Corruption]
    mean_error: float
    mce: float | None


def corruption_errors(image_sets: list[tuple[str, int, int]], scores: list[Scored]) -> Corruptions:
    """Return the errors of each corruption and their means, all in percent.

    `image_sets` has (corruption, severity, images) for each set of images, and `scores` has their scores. `corruptions`
    gives for each corruption its `errors` by severity and their mean `error`; `mean_error` is the mean over all
    corruptions. `mce` is the mean over the 15 corruptions of the error divided by AlexNet's, in percent; it is None
    unless all 15 corruptions are there in all five severities.
    """
    errors: dict[str, dict[int, float]] = {}
    for (corruption, severity, _), score in zip(image_sets, scores, strict=True):
        errors.setdefault(corruption, {})[severity] = 100 * float(1 - score.right.mean())
    means = {corruption: float(np.mean(list(rates.values()))) for corruption, rates in errors.items()}
    complete = errors.keys() == ALEXNET.keys() and all(len(rates) == SEVERITIES for rates in errors.values())
    return {
        "corruptions": {name: {"errors": list(errors[name].values()), "error": means[name]} for name in errors},
        "mean_error": float(np.mean(list(means.values()))),
        "mce": 100 * float(np.mean([means[name] / ALEXNET[name] for name in ALEXNET])) if complete else None,
    }
