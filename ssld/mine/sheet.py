"""This module writes sheet.html of a mining: removed pairs side by side, best and worst of some classes, all scores."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssld.data import FileList
from ssld.data.readable import Unreadable
from ssld.files import write_whole
from ssld.mine.picture import read
from ssld.mine.results import SeenContents, State, load
from ssld.mine.select import BINS, Choice, final, items
from ssld.mine.sources import Item
from ssld.report.markup import card, section, table, tile
from ssld.report.run_page import PAGE
from ssld.report.style import CSS
from ssld.spec.printable import in_markup

PAIRS, CLASSES, EACH = 12, 8, 4  # it shows so many removed pairs, classes, and best and worst images of a class
SMALL = 160  # the pixels of the longer side of a picture in the page
LOOKS = """
.strip { display: flex; flex-wrap: wrap; gap: 8px; margin: 6px 0; }
.strip figure { padding: 6px; border-radius: 6px; }
.strip img { display: block; height: 96px; min-width: 48px; object-fit: contain; background: #888; }
.strip figcaption { margin: 3px 0 0; font-size: 12px; font-variant-numeric: tabular-nums; }
"""
EXPLANATIONS = {
    "images": "in the pool",
    "unreadable": "named in unreadable.csv",
    "copies": "of equal bytes",
    "near_duplicates": "of the validation set",
    "below_min_score": "left out",
    "not_among_the_k_best": "left out",
}


def write_sheet(
    file: Path, about: dict[str, Any], choice: Choice, files: Sequence[Path], against: FileList, names: Sequence[str]
) -> None:
    """Write the page; it holds everything it shows, and loads nothing. names: the names of the classes."""
    parts = [
        _head(about, choice),
        section("Scores", "Images by the score of their likeliest class; dark: chosen.", _bars(choice.scores)),
        section("Removed", "Pool image, and the validation image that it is a copy of.", _pairs(files, against)),
        section("Chosen", f"The {EACH} best and the {EACH} last of some classes.", _classes(choice, files, names)),
    ]
    page = PAGE.format(title="mining · ssld", css=CSS + LOOKS, body="".join(parts))
    write_whole(file, page.encode("utf-8", "replace").decode())


def _head(about: dict[str, Any], choice: Choice) -> str:
    """Show the options and the counts."""
    options, teacher = about["options"], about["teacher"]
    description = (
        f"{teacher['name']}, k {options['k']}, minimum score {options['min_score']}, assign {options['assign']}"
    )
    tiles = [tile("selected", f"{choice.counts['selected']:,}", "chosen", main=True)]
    tiles += [tile(name.replace("_", " "), f"{choice.counts[name]:,}", text) for name, text in EXPLANATIONS.items()]
    short = f"{choice.counts['classes_short_of_k']:,} of {teacher['classes']:,} classes have fewer than k images."
    digest = f'<p class="note">{in_markup(short)} Digest <code>{about["digest"][:16]}</code></p>'
    head = f'<h1>Mined images</h1>\n<p class="sub">{in_markup(description)}</p>\n'
    return f'{head}<div class="grid tiles">{"".join(tiles)}</div>\n{digest}\n'


def _bars(scores: np.ndarray) -> str:
    """Draw int64 [2, BINS] as bars: all scored images, and in front of them those that were chosen."""
    width, height, most = 30, 160, max(1, int(scores[0].max()))
    bars = []
    for row, colour, opacity in ((0, "muted", 0.35), (1, "student", 1.0)):
        for place, count in enumerate(scores[row].tolist()):
            tall = height * count / most
            tooltip = f"{place / BINS:.2f} to {(place + 1) / BINS:.2f}: {count:,}"
            box = f'x="{place * width + 2}" y="{height - tall:.1f}" width="{width - 4}" height="{tall:.1f}"'
            bars.append(f'<rect {box} fill="var(--{colour})" opacity="{opacity}"><title>{tooltip}</title></rect>')
    ticks = [
        f'<text x="{BINS * width * share:.0f}" y="{height + 16}" font-size="12" text-anchor="{anchor}" '
        f'fill="var(--muted)">{share:.1f}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    ]
    return card(f'<svg viewBox="0 0 {BINS * width} {height + 20}" role="img">{"".join(bars + ticks)}</svg>')


def _pairs(files: Sequence[Path], against: FileList) -> str:
    """Show PAIRS removed images, evenly from all that were removed, beside the images that they are copies of."""
    contents, all_pairs = SeenContents(), []
    for file in files:
        result = load(file)
        state = final(result, contents)
        for image, (other, inliers, correlation) in result.near.items():
            if state[image] == State.NEAR:
                path = against.path(int(other))
                all_pairs.append((result.items[image], Item(path, path), inliers, correlation))
    if not all_pairs:
        return "<p>None.</p>"
    examples = [all_pairs[int(place)] for place in np.unique(np.linspace(0, len(all_pairs) - 1, PAIRS).astype(int))]
    strips = "".join(
        f'<div class="strip">{_picture(own, "pool")}{_picture(other, "validation")}'
        f'<p class="note">{int(inliers)} inliers<br>correlation {correlation:.3f}</p></div>'
        for own, other, inliers, correlation in examples
    )
    return f'<div class="grid wide">{strips}</div>'


def _classes(choice: Choice, files: Sequence[Path], names: Sequence[str]) -> str:
    """Show the best and the last images of some classes, and the smallest classes."""
    rows = choice.rows
    labels = np.unique(rows.label)
    examples = labels[np.unique(np.linspace(0, len(labels) - 1, CLASSES).astype(int))] if len(labels) else labels
    rows_of_class: list[tuple[int, list[int]]] = []
    for label in examples.tolist():
        own = np.flatnonzero(rows.label == label).tolist()
        rows_of_class.append((label, own if len(own) <= 2 * EACH else own[:EACH] + own[-EACH:]))
    positions = [position for _, own in rows_of_class for position in own]
    pictures = dict.fromkeys(positions, "")
    for place, item, _ in items(files, rows.place[positions]):
        pictures[positions[place]] = _picture(item, f"{rows.score[positions[place]]:.3f}")
    strips = [
        f'<h3>{in_markup(names[label])}</h3><div class="strip">{"".join(pictures[at] for at in own)}</div>'
        for label, own in rows_of_class
    ]
    sizes = np.bincount(rows.label, minlength=len(names))
    smallest = np.argsort(sizes, kind="stable")[:CLASSES].tolist()
    few = [{"class": names[label], "images": int(sizes[label])} for label in smallest]
    counted = card(table({"class": ("class", "s"), "images": ("images", ",")}, few))
    return f"{card(''.join(strips))}<h3>Smallest classes</h3>{counted}"


def _picture(item: Item, caption: str) -> str:
    """Show a small picture with its name as tool tip; an image that no longer exists is shown as its name."""
    name = in_markup(item.name)
    try:
        image = read(item)[0].image.convert("RGB")
    except Unreadable:
        return f"<figure>{name}<figcaption>{in_markup(caption)}</figcaption></figure>"
    image.thumbnail((SMALL, SMALL))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    data = base64.b64encode(encoded.getvalue()).decode()
    image_tag = f'<img src="data:image/jpeg;base64,{data}" alt="{name}" title="{name}">'
    return f"<figure>{image_tag}<figcaption>{in_markup(caption)}</figcaption></figure>"
