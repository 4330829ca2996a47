"""This module shows sample predictions: it chooses the images, and shows what each network says of them."""

import base64
import io

import numpy as np
from PIL import Image

from ssld.spec.printable import in_markup

SHOWN = 12
NETWORKS = ("teacher", "baseline", "student")
LARGEST = 176  # the pixels of a picture in the page are twice its size on the screen
JPEG_FROM = 96  # pictures of more pixels are photographs


def choose(arrays: dict[str, np.ndarray], count: int = SHOWN) -> list[int]:
    """Return the numbers of the images that tell most; half of one kind at most while there are others.

    The kinds, in order: the student is right and the baseline is not; student and teacher differ; the baseline differs;
    the student is least certain.
    """
    answers = {name: arrays[name].argmax(1) for name in NETWORKS if name in arrays}
    student, teacher, baseline = (
        answers["student"],
        answers.get("teacher", answers["student"]),
        answers.get("baseline", answers["student"]),
    )
    label, unsure = arrays["label"], np.argsort(arrays["student"].max(1), kind="stable")
    repaired, differs = (student == label) & (baseline != label), student != teacher
    kinds = [repaired, differs & (student == label), differs, baseline != student, np.ones(len(label), bool)]
    indices: list[int] = []
    for limit in (count // 2, count):
        for kind in kinds:
            new = [int(index) for index in unsure if kind[index] and index not in indices]
            indices += new[: min(limit, count - len(indices))]
    return indices


def cards(arrays: dict[str, np.ndarray]) -> str:
    """Return one HTML card an image: the picture, its label and the three best classes of every network."""
    names = [str(name) for name in arrays["classes"]]
    return "".join(_card(arrays, index, names) for index in choose(arrays))


def _card(arrays: dict[str, np.ndarray], index: int, names: list[str]) -> str:
    """Return the card of one image."""
    label = int(arrays["label"][index])
    answers = "".join(_answer_rows(name, arrays[name][index], label, names) for name in NETWORKS if name in arrays)
    title = f"label {in_markup(names[label])}" if label >= 0 else "no label"
    picture = f'<img src="{data_url(arrays["image"][index])}" alt="{title}">'
    return f'<div class="card sample">{picture}<div><h3>{title}</h3>{answers}</div></div>'


def _answer_rows(network: str, scores: np.ndarray, label: int, names: list[str]) -> str:
    """Return the three best classes of one network with their probabilities."""
    rows = []
    for place in np.argsort(-scores, kind="stable")[:3]:
        share, right = 100 * float(scores[place]), int(place) == label
        rows.append(
            f'<div class="guess{" right" if right else ""}"><i style="width:{share:.1f}%"></i>'
            f"<span>{'✓ ' if right else ''}{in_markup(names[place])}</span><span>{share:.0f}&thinsp;%</span></div>"
        )
    return f'<div class="said"><b class="{network}">{network}</b><div class="{network}">{"".join(rows)}</div></div>'


def data_url(image: np.ndarray) -> str:
    """Return an image uint8 [H, W, 3] as a data: URL, no larger than LARGEST; photographs are JPEG."""
    picture, buffer = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((LARGEST, LARGEST))
    form = "JPEG" if max(image.shape[:2]) > JPEG_FROM else "PNG"
    picture.save(buffer, form, **({"quality": 85} if form == "JPEG" else {"optimize": True}))
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
