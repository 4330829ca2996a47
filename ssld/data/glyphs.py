"""Draw characters of real fonts as images: many classes, and parts that share no family of fonts.

What is kept is decided by what is drawn. A family that lacks characters, that draws two classes alike, or that repeats
another one under any name is left out; of characters that most families draw alike one is a class. Nothing depends on
names of fonts, on the order of the folders, or on where they lie.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from ssld.data.digits import png
from ssld.data.font_files import SIZE, SUFFIXES, Face, Pen, faces_of, packages_of
from ssld.data.target import Prepared, Progress, Target
from ssld.data.tree import LeftOut, files_under
from ssld.errors import DataError, some

# The candidates, in the order in which one of several alike is kept.
BASIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ACCENTED = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿŁłŒœŠšŸŽž"
GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψω"
CYRILLIC = "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюяЁё"
CANDIDATES = BASIC + ACCENTED + GREEK + CYRILLIC

ALIKE = 0.001  # two images are alike where the squares of their difference are at most so large a share of their own
TWINS = 4  # at most so many letters and digits of a family look like an earlier one; capitals alone are more
NEAR, DOUBLED = 0.02, 0.5  # a family repeats another one where so large a share of letters and digits is so near to its
MERGED = 0.03  # of two characters that more than this share of the families draw alike, one is kept
FAMILIES, HAVING = 120, 0.5  # so many families have all classes, of fewer than 240 this share of them
# What docs/glyphs.md describes: the fonts that were given, what came of them, and the FreeType that drew them.
PUBLISHED = {
    "fonts": "caedfbd9b71e34a6",
    "digest": "e1dacf50d50d041545f1f2bb2c8c72fd9e58b5a2b6ef018c38ce26a54a52d2f0",
    "freetype": "2.14.3",
}
PARTS = {"labelled": 0.3, "unlabelled": 0.35, "val": 0.15, "test": 0.2}  # shares of the families


@dataclass
class Family:
    """Hold the most regular face of a family, and what it draws of the candidates.

    images: uint8 [candidates, SIZE, SIZE], zeros for a character that it lacks.
    """

    name: str
    face: Face
    images: np.ndarray

    @property
    def has(self) -> np.ndarray:
        """Return which candidates it has, bool [candidates]."""
        return self.images.any(axis=(1, 2))


def prepare(
    out: str | os.PathLike[str],
    progress: Progress,
    fonts: Sequence[str | os.PathLike[str]] = (),
    seed: int = 0,
) -> Prepared:
    """Write PNG files of 32 x 32 pixels and the lists train_labelled, train_unlabelled, train_all, val and test.

    fonts: folders of font files. `seed` says which families are in which part. `classes.txt` has the characters,
    `dataset.json` the font files with their Debian packages, and a digest of pixels and lists; left_out.csv names what
    is left out. It raises DataError for a folder that is none or has no fonts, and where too few families are left.
    """
    folders = [_folder(folder) for folder in fonts]
    if not folders:
        raise DataError("data prepare glyphs: no fonts given; name folders of font files (--fonts DIR ...)")
    root = Path(os.path.commonpath(folders))
    left_out = LeftOut(root)
    files = sorted({path for folder in folders for path in files_under(folder, left_out, SUFFIXES, "font")})
    families, digests = _families([root / file for file in files], left_out)
    if not families:
        raise DataError(
            f"{some([str(folder) for folder in folders])}: no TrueType or OpenType fonts; {_told(left_out)}"
        )
    of_fonts = _sha256("\n".join(sorted(digests)))[:16]
    target = Target("glyphs", out, {"seed": seed, "fonts": of_fonts})
    target.left_out = left_out
    if data_set := target.done():
        return data_set
    work = _Work(progress, len(families) * len(CANDIDATES))
    kept = without_repeats([*_drawn(families, left_out, work)], left_out)
    classes = choose_classes(kept) if kept else []
    kept = [family for family in kept if _is_whole(family, classes, left_out)]
    if len(kept) < len(PARTS) or len(classes) < 2:
        what = f"families that are left: {len(kept)}, common characters: {len(classes)}; {len(PARTS)} parts need more"
        raise DataError(f"{some([str(folder) for folder in folders])}: {what}; add fonts; {_told(left_out)}")
    parts = parts_of([family.name for family in kept], families, seed)
    if not all(parts.values()):
        raise DataError(f"{some([str(folder) for folder in folders])}: too few families that are not kin; add fonts")
    prepared = _written(target, kept, classes, parts, work)
    if remark := beside_published({"seed": seed, "fonts": of_fonts}, prepared["digest"], str(freetype())):
        prepared["remarks"] = [*prepared.get("remarks", []), remark]
    return prepared


def beside_published(options: Mapping[str, object], digest: str, freetype: str) -> str | None:
    """Return what is to be known of a set whose digest is not the published one, or None where it is."""
    if digest == PUBLISHED["digest"]:
        return None
    if options == {"seed": 0, "fonts": PUBLISHED["fonts"]}:
        what = f"the fonts are those of docs/glyphs.md and the images are not: FreeType {freetype} draws here"
        return f"{what}, {PUBLISHED['freetype']} drew those; compare results of one digest alone"
    return "other fonts, or another seed, than docs/glyphs.md has; compare results of one digest alone"


def freetype() -> str | None:
    """Return the version of the FreeType that Pillow draws with."""
    return features.version("freetype2")


class _Work:
    """Count drawn images for the progress."""

    def __init__(self, progress: Progress, total: int):
        self._progress, self.total, self.done = progress, total, 0

    def add(self, images: int) -> None:
        self.done += images
        self._progress(self.done, self.total)


def _folder(folder: str | os.PathLike[str]) -> Path:
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; give folders of font files")
    return Path(folder).resolve()


def _told(left_out: LeftOut) -> str:
    return "; ".join(left_out.summary()) or "the folder is empty"


def _families(files: Sequence[Path], left_out: LeftOut) -> tuple[dict[str, Face], set[str]]:
    """Return the most regular face of each family, by name, and the sha256 of all font files.

    Upright ones come first, then those that are neither narrow nor wide, then those whose weight is nearest to 400. No
    place of a file decides.
    """
    families: dict[str, list[Face]] = {}
    digests: set[str] = set()
    for file in files:
        try:
            faces = faces_of(file)
        except (OSError, ValueError) as error:
            left_out.add(file, "a font that cannot be read", getattr(error, "strerror", None) or str(error))
            continue
        if faces[0].sha256 in digests:
            left_out.add(file, "the bytes of another font file")
            continue
        digests.add(faces[0].sha256)
        for face in faces:
            families.setdefault(face.family, []).append(face)

    def order(face: Face) -> tuple[object, ...]:
        return face.slanted, abs(face.width - 5), abs(face.weight - 400), face.style, face.sha256, face.number

    return {name: min(faces, key=order) for name, faces in sorted(families.items())}, digests


def _drawn(families: Mapping[str, Face], left_out: LeftOut, work: _Work) -> Iterator[Family]:
    """Yield the families whose most regular face draws text: all letters and digits, few of them alike."""
    for name, face in families.items():
        try:
            images = _images(Pen(face))
        except OSError as error:
            left_out.add(face.file, "a font that cannot be drawn", f"{name}: {error}")
        except ValueError as error:
            left_out.add(face.file, "a family without letters or digits", f"{name} {error}")
        else:
            family = Family(name, face, images)
            if lacking := [c for c, has in zip(BASIC, family.has, strict=False) if not has]:
                left_out.add(face.file, "a family without letters or digits", f"{name} lacks {some(lacking)}")
            elif len(twins := _twins(images[: len(BASIC)])) > TWINS:
                what = f"{name} draws {len(twins)} of {len(BASIC)} as others"
                left_out.add(face.file, "a family that draws letters alike", what)
            else:
                yield family
        work.add(len(CANDIDATES))


def _images(pen: Pen) -> np.ndarray:
    drawn = [pen.draw(character) for character in CANDIDATES]
    return np.stack([np.zeros((SIZE, SIZE), np.uint8) if image is None else image for image in drawn])


def alike(images: np.ndarray, others: np.ndarray, most: float = ALIKE) -> np.ndarray:
    """Return which images look the same, bool [n, m], of uint8 [n, h, w] and [m, h, w]; none is like a blank one.

    Pixels count with 32 levels. So all sums are whole numbers that a float32 holds, and no order of adding matters.
    """
    a, b = ((part.reshape(len(part), -1) >> 3).astype(np.float32) for part in (images, others))
    own, other = (a * a).sum(axis=1)[:, None], (b * b).sum(axis=1)[None]
    return (own + other - 2 * a @ b.T <= most * np.maximum(own, other)) & (own > 0) & (other > 0)


def _twins(images: np.ndarray) -> np.ndarray:
    """Return the places of the images that look like an earlier one."""
    return np.flatnonzero(np.triu(alike(images, images), 1).any(axis=0))


def without_repeats(families: Sequence[Family], left_out: LeftOut) -> list[Family]:
    """Leave out families that repeat another one, whatever their names: most letters and digits look the same.

    The family with more candidates is kept, of equal ones the first by name.
    """
    ordered = sorted(families, key=lambda family: (-int(family.has.sum()), family.name))
    same = np.zeros((len(ordered), len(ordered)), np.int64)
    for number in range(len(BASIC)) if ordered else ():
        of_all = np.stack([family.images[number] for family in ordered])
        same += alike(of_all, of_all, NEAR)
    kept: list[int] = []
    for number, family in enumerate(ordered):
        if (like := next((k for k in kept if same[number, k] >= DOUBLED * len(BASIC)), None)) is None:
            kept.append(number)
        else:
            what = f"{family.name} repeats {ordered[like].name}"
            left_out.add(family.face.file, "a family that repeats another one", what)
    return sorted((ordered[k] for k in kept), key=lambda family: family.name)


def choose_classes(families: Sequence[Family]) -> list[int]:
    """Return the places of the classes among the candidates.

    Of characters that more than MERGED of the families with both draw alike, the first one is kept. The others are
    ordered by the number of families that have them, and the most are taken of which FAMILIES, or HAVING of the
    families, have all and draw no two alike. `families` has one or more.
    """
    has = np.stack([family.has for family in families])
    same = np.stack([alike(family.images, family.images) for family in families])
    merged = same.sum(axis=0) > MERGED * (has.T.astype(np.int64) @ has.astype(np.int64))
    single: list[int] = []
    for number in range(len(CANDIDATES)):
        if not merged[number, single].any():
            single.append(number)
    ordered = sorted(single, key=lambda number: (-int(has[:, number].sum()), number))
    faults = np.triu(same[:, ordered][:, :, ordered], 1).any(axis=1) | ~has[:, ordered]
    whole = np.where(faults.any(axis=1), faults.argmax(axis=1), len(ordered))  # a family is whole for so many classes
    least = min(FAMILIES, HAVING * len(families))
    return sorted(ordered[: sum((whole > count).sum() >= least for count in range(len(ordered)))])


def _is_whole(family: Family, classes: Sequence[int], left_out: LeftOut) -> bool:
    """Say whether a family has all classes, and draws no two of them alike. If not, note what is left out."""
    lacking = [CANDIDATES[number] for number in classes if not family.has[number]]
    same = np.argwhere(np.triu(alike(family.images[classes], family.images[classes]), 1))
    if lacking:
        left_out.add(family.face.file, "a family that lacks a class", f"{family.name} lacks {some(lacking)}")
    elif len(same):
        pairs = [f"{CANDIDATES[classes[a]]} and {CANDIDATES[classes[b]]}" for a, b in same]
        what = f"{family.name} draws {some(pairs)} alike"
        left_out.add(family.face.file, "a family that draws two classes alike", what)
    return not lacking and not len(same)


def parts_of(names: Iterable[str], known: Collection[str], seed: int) -> dict[str, list[str]]:
    """Return the names of the families of each part, drawn by seed and name alone.

    A family whose name begins with the words of another one's, as Noto Sans Mono with Noto Sans, is in the part of
    that; `known` has the names of all families, also of those that are left out. PARTS are shares of such groups, and
    every part has one at least; there are as many groups as parts, or more.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        words = name.split()
        starts = (" ".join(words[:count]) for count in range(1, len(words) + 1))
        groups.setdefault(next(start for start in starts if start in known), []).append(name)
    drawn = sorted(groups, key=lambda group: _sha256(f"{seed} {group}"))
    ends = [round(share * len(drawn)) for share in np.cumsum([*PARTS.values()])]
    ends = [min(max(end, i + 1), len(drawn) - len(ends) + i + 1) for i, end in enumerate(ends)]
    cuts = zip(PARTS, [0, *ends], ends, strict=False)
    return {part: sorted(name for group in drawn[a:b] for name in groups[group]) for part, a, b in cuts}


def _written(
    target: Target, families: Sequence[Family], classes: Sequence[int], parts: Mapping[str, list[str]], work: _Work
) -> Prepared:
    """Write images, lists and manifest."""
    characters, digest, paths = [CANDIDATES[number] for number in classes], hashlib.sha256(), dict[str, list[str]]()
    work.total += len(families) * len(classes)
    for number, family in enumerate(families):
        folder = f"images/{number:03d}-{_plain(family.name)}"
        paths[family.name] = [f"{folder}/{ord(character):04x}.png" for character in characters]
        for path, image in zip(paths[family.name], family.images[classes], strict=True):
            target.save(path, png(image))
            digest.update(f"{path}\n".encode() + image.tobytes())
        work.add(len(classes))
    lists = {
        "train_labelled": ["labelled"],
        "train_unlabelled": ["unlabelled"],
        "train_all": ["labelled", "unlabelled"],
    }
    for name, of in {**lists, "val": ["val"], "test": ["test"]}.items():
        listed = [path for part in of for family_name in parts[part] for path in paths[family_name]]
        labels = [*range(len(classes))] * (len(listed) // len(classes))
        target.save_list(f"{name}.txt", listed, None if name == "train_unlabelled" else labels)
    digest.update(target.digest_of_lists().encode())
    target.facts = {
        "digest": digest.hexdigest(),
        "families": {part: len(names) for part, names in parts.items()},
        "drawn_with": {"pillow": PIL.__version__, "freetype": freetype()},
        "fonts": _font_facts([family.face for family in families], parts),
    }
    return target.finish(characters)


def _font_facts(faces: Sequence[Face], parts: Mapping[str, list[str]]) -> list[dict[str, object]]:
    packages, part_of = (
        packages_of({face.file for face in faces}),
        {n: part for part, names in parts.items() for n in names},
    )
    return [
        {
            "family": face.family,
            "style": face.style,
            "part": part_of[face.family],
            "file": face.file.name,
            "number": face.number,
            "sha256": face.sha256,
            **dict(zip(("package", "version"), packages.get(face.file, (None, None)), strict=True)),
        }
        for face in faces
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
