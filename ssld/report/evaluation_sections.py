"""This module makes the sections of a run's page beyond top-1: calibration, single classes, the worst with pictures."""

from typing import Any

import numpy as np

from ssld.report import figures
from ssld.report.headline import training_word
from ssld.report.markup import Columns, figure, section, table
from ssld.report.samples import data_url
from ssld.report.sections import names_for, which_classes
from ssld.spec.printable import in_markup

COLUMNS: Columns = {
    "network": ("name", str),
    "top-1": ("top1", ".2f"),
    "top-5": ("top5", ".2f"),
    "NLL": ("nll", ".4f"),
    "ECE": ("ece", ".2f"),
}
PICTURES = 4  # at most so many pictures are shown of a class
TERMS = (
    '<p class="note terms">NLL: negative log-likelihood of the label, mean over the images. ECE: expected calibration '
    "error, the mean over the images of |accuracy - confidence| of their bin; the bins are those of the diagram, the "
    "confidence is the probability of the answer.</p>"
)
OLDER = "Not measured: this result is older than these numbers."


def beyond(result: dict[str, Any], names: list[str]) -> str:
    """Show likelihood and calibration error of the networks.

    Of the student it also shows the reliability diagram, and top-1 by class.
    """
    if "ece" not in result:
        return section("Beyond top-1", OLDER, "")
    networks = {name: result.get(name) or {} for name in ("teacher", "baseline")} | {training_word(result): result}
    rows = [{"name": name, **numbers} for name, numbers in networks.items() if "ece" in numbers]
    shares, bins = result["per_class"]["top1"], result["reliability"]
    bars = figures.per_class(shares, names_for(shares, names), "top-1, %", "Top-1 of the student, by class")
    right = figure(
        "Scores", "Validation images; percent, NLL in nats.", f'<div class="scroll">{table(COLUMNS, rows)}</div>{TERMS}'
    )
    right += figure("Top-1 by class", f"The student's. {which_classes(shares)}", bars)
    left = '<p class="note">No reliability diagram: a logit of the student is not finite.</p>'
    if bins:
        left = figure("Reliability", f"The student's. {lean(bins)}", figures.reliability(bins))
    how = "Whether the networks are right as often as their probabilities say, and where the student is not."
    return section("Beyond top-1", how, f'<div class="grid wide short">{left}<div class="grid">{right}</div></div>')


def lean(bins: dict[str, list[Any]]) -> str:
    """Say whether a network is too sure or not sure enough, on average."""
    images = np.array(bins["images"])
    right, sure = (
        sum(count * (value or 0) for count, value in zip(images, bins[key], strict=True)) / images.sum()
        for key in ("accuracy", "confidence")
    )
    return f"Mean confidence {sure:.1f} %, accuracy {right:.1f} %: {'over' if sure > right else 'under'}confident."


def worst(result: dict[str, Any], arrays: dict[str, np.ndarray], names: list[str]) -> str:
    """Show the classes of lowest top-1 with images that the student got wrong; nothing for a result without them."""
    if not result.get("worst"):
        return ""
    names = names_for(result["per_class"]["top1"], names)
    cards = "".join(worst_class(entry, arrays, names) for entry in result["worst"])
    how = "The classes of lowest top-1, and their most confident mistakes: what the student said instead."
    return section("Worst classes", how, f'<div class="grid">{cards}</div>')


def worst_class(entry: dict[str, Any], arrays: dict[str, np.ndarray], names: list[str]) -> str:
    """Show one class: how much of it is right, and what it is taken for.

    Where the run has kept any, pictures of mistakes follow.
    """
    confusions = ", ".join(f"{names[c]} ({images:,})" for c, images in entry["mistakes"])
    text = f"{entry['top1']:.1f} % of {entry['images']:,} right" + (f"; taken for {confusions}" if confusions else "")
    pictures = "".join(_mistake(arrays, index, names) for index in mistakes(arrays, entry["class"]))
    strip = f'<div class="strip">{pictures}</div>' if pictures else ""
    head = f"<h3>{in_markup(names[entry['class']])}</h3><figcaption>{in_markup(text)}</figcaption>"
    return f'<div class="card">{head}{strip}</div>'


def mistakes(arrays: dict[str, np.ndarray], label: int) -> list[int]:
    """Return at most PICTURES positions of kept images of a class that the student got wrong.

    The most confident mistake comes first.
    """
    if not arrays:
        return []
    wrong = np.flatnonzero((arrays["label"] == label) & (arrays["student"].argmax(1) != label))
    return wrong[np.argsort(-arrays["student"][wrong].max(1), kind="stable")][:PICTURES].tolist()


def _mistake(arrays: dict[str, np.ndarray], index: int, names: list[str]) -> str:
    """Show one image with the answer of the student and its probability."""
    answer = int(arrays["student"][index].argmax())
    name, share = in_markup(names[answer]), f"{100 * float(arrays['student'][index][answer]):.0f}&thinsp;%"
    return (
        f'<div><img src="{data_url(arrays["image"][index])}" alt="{name}"><span>{name}</span><span>{share}</span></div>'
    )
