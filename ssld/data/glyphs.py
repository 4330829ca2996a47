"""Draw characters of real fonts as images: many classes, and parts that share no family of fonts.

What is kept is decided by what is drawn. A family that lacks characters, that draws two classes alike, or that repeats
another one under any name is left out; of characters that most families draw alike one is a class. Nothing depends on
names of fonts, on the order of the folders, or on where they lie.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from ssld.data.digits import png
from ssld.data.font_files import SUFFIXES, Face, Pen, faces_of, packages_of
from ssld.data.target import Prepared, Progress, Target
from ssld.data.tree import LeftOut, files_under
from ssld.errors import DataError, some

# The candidates, in the order in which one of several alike is kept.
BASIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ACCENTED = (
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"
    "ĀāĂăĄąĆćĈĉĊċČčĎďĐđĒēĔĕĖėĘęĚěĜĝĞğĠġĢģĤĥĦħĨĩĪīĬĭĮįİıĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŦŧŨũŪūŬŭŮůŰűŲųŴŵŶŷŸŹźŻżŽž"
)
GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψωάέήίϊόύϋώ"
CYRILLIC = "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюяёєіїґўђјљњћџ"
CANDIDATES = BASIC + ACCENTED + GREEK + CYRILLIC

ALIKE = 0.02  # two images are alike where the squares of their difference are at most so large a share of their own
TWINS = 4  # at most so many letters and digits of a family look like an earlier one; capitals alone are more
DOUBLED = 0.5  # a family with so large a share of letters and digits alike to another's repeats it
MERGED = 0.1  # of two characters that more than this share of the families draw alike, one is kept
HAVING = 0.5  # at least this share of the families has all classes
PARTS = {"labelled": 0.3, "unlabelled": 0.35, "val": 0.15, "test": 0.2}  # shares of the families
STYLES = ((400, False), (700, False))  # weight and slant of the faces of a family that are drawn, where it has them


@dataclass
class Family:
    """Hold the faces of a family, the most regular one first, and what that one draws of the candidates.

    images: uint8 [candidates, SIZE, SIZE], zeros for a character that it lacks.
    """

    name: str
    faces: list[Face]
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
    target = Target("glyphs", out, {"seed": seed, "fonts": _sha256("\n".join(sorted(digests)))[:16]})
    target.left_out = left_out
    if data_set := target.done():
        return data_set
    work = _Work(progress, len(families) * len(CANDIDATES))
    drawn = list(_drawn(families, left_out, work))
    kept = without_repeats(drawn, left_out)
    classes = choose_classes(kept)
    kept = [family for family in kept if _is_whole(family, classes, left_out)]
    if len(kept) < len(PARTS) or len(classes) < 2:
        what = f"{len(kept)} families with {len(classes)} common characters are too few for {len(PARTS)} parts"
        raise DataError(f"{some([str(folder) for folder in folders])}: {what}; add fonts; {_told(left_out)}")
    return _written(target, kept, classes, seed, work)


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


def _families(files: Sequence[Path], left_out: LeftOut) -> tuple[dict[str, list[Face]], set[str]]:
    """Return the faces of each family, the most regular one first, and the sha256 of all font files.

    Families, and equal faces of one, have an order that does not depend on the places of the files.
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
    for faces in families.values():
        faces.sort(key=lambda face: (*_distance(face, STYLES[0]), face.style, face.sha256, face.number))
    return dict(sorted(families.items())), digests


def _distance(face: Face, style: tuple[int, bool]) -> tuple[bool, int, int]:
    """Say how far a face is from a style: the slant counts first, then the width, then the weight."""
    weight, slanted = style
    return face.slanted != slanted, abs(face.width - 5), abs(face.weight - weight)


def _drawn(families: Mapping[str, list[Face]], left_out: LeftOut, work: _Work) -> Iterator[Family]:
    """Yield the families whose most regular face draws text: all letters and digits, few of them alike."""
    for name, faces in families.items():
        try:
            images = _images(Pen(faces[0]), CANDIDATES)
        except (OSError, ValueError) as error:
            left_out.add(faces[0].file, "a font that cannot be drawn", f"{name}: {error}")
        else:
            family = Family(name, faces, images)
            if lacking := [c for c, has in zip(BASIC, family.has, strict=False) if not has]:
                left_out.add(faces[0].file, "a family without letters or digits", f"{name} lacks {some(lacking)}")
            elif len(twins := _twins(images[: len(BASIC)])) > TWINS:
                what = f"{name} draws {len(twins)} of {len(BASIC)} as others"
                left_out.add(faces[0].file, "a family that draws letters alike", what)
            else:
                yield family
        work.add(len(CANDIDATES))


def _images(pen: Pen, characters: str | Sequence[str]) -> np.ndarray:
    drawn = [pen.draw(character) for character in characters]
    blank = next((np.zeros_like(image) for image in drawn if image is not None), np.zeros((1, 1), np.uint8))
    return np.stack([blank if image is None else image for image in drawn])


def alike(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which images look the same, bool [n, m], of uint8 [n, h, w] and [m, h, w]; none is like a blank one.

    Pixels count with 32 levels. So all sums are whole numbers that a float32 holds, and no order of adding matters.
    """
    a, b = ((part.reshape(len(part), -1) >> 3).astype(np.float32) for part in (images, others))
    own, other = (a * a).sum(axis=1)[:, None], (b * b).sum(axis=1)[None]
    return (own + other - 2 * a @ b.T <= ALIKE * np.maximum(own, other)) & (own > 0) & (other > 0)


def _twins(images: np.ndarray) -> np.ndarray:
    """Return the places of the images that look like an earlier one."""
    return np.flatnonzero(np.triu(alike(images, images), 1).any(axis=0))


def without_repeats(families: Sequence[Family], left_out: LeftOut) -> list[Family]:
    """Leave out families that repeat another one, whatever their names: most letters and digits look the same.

    The family with more candidates is kept, of equal ones the first by name.
    """
    ordered = sorted(families, key=lambda family: (-int(family.has.sum()), family.name))
    same = np.zeros((len(ordered), len(ordered)), np.int64)
    for number in range(len(BASIC)):
        of_all = np.stack([family.images[number] for family in ordered])
        same += alike(of_all, of_all)
    kept: list[int] = []
    for number, family in enumerate(ordered):
        if (like := next((k for k in kept if same[number, k] >= DOUBLED * len(BASIC)), None)) is None:
            kept.append(number)
        else:
            what = f"{family.name} repeats {ordered[like].name}"
            left_out.add(family.faces[0].file, "a family that repeats another one", what)
    return sorted((ordered[k] for k in kept), key=lambda family: family.name)


def choose_classes(families: Sequence[Family]) -> list[int]:
    """Return the places of the classes among the candidates.

    Of characters that more than MERGED of the families with both draw alike, the first one is kept. The others are
    ordered by the number of families that have them, and the most that HAVING of the families have altogether are
    taken. `families` has one or more.
    """
    has = np.stack([family.has for family in families])
    same = sum(alike(family.images, family.images).astype(np.int64) for family in families)
    both = has.T.astype(np.int64) @ has.astype(np.int64)
    merged = same > MERGED * both
    single: list[int] = []
    for number in range(len(CANDIDATES)):
        if not merged[number, single].any():
            single.append(number)
    ordered = sorted(single, key=lambda number: (-int(has[:, number].sum()), number))
    having = [int(has[:, ordered[: count + 1]].all(axis=1).sum()) for count in range(len(ordered))]
    return sorted(ordered[: sum(number >= HAVING * len(families) for number in having)])


def _is_whole(family: Family, classes: Sequence[int], left_out: LeftOut) -> bool:
    """Say whether a family has all classes, and draws no two of them alike. If not, note what is left out."""
    lacking = [CANDIDATES[number] for number in classes if not family.has[number]]
    same = np.argwhere(np.triu(alike(family.images[classes], family.images[classes]), 1))
    if lacking:
        left_out.add(family.faces[0].file, "a family that lacks a class", f"{family.name} lacks {some(lacking)}")
    elif len(same):
        pairs = [f"{CANDIDATES[classes[a]]} and {CANDIDATES[classes[b]]}" for a, b in same]
        what = f"{family.name} draws {some(pairs)} alike"
        left_out.add(family.faces[0].file, "a family that draws two classes alike", what)
    return not lacking and not len(same)


def parts_of(names: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Return the names of the families of each part, drawn by seed and name alone; every part has one at least."""
    drawn = sorted(names, key=lambda name: _sha256(f"{seed} {name}"))
    shares = np.cumsum([*PARTS.values()])
    ends = [round(share * len(drawn)) for share in shares]
    ends = [min(max(end, i + 1), len(drawn) - len(ends) + i + 1) for i, end in enumerate(ends)]
    return {part: sorted(drawn[a:b]) for part, a, b in zip(PARTS, [0, *ends], ends, strict=False)}


def _styles(family: Family) -> list[Face]:
    """Return the faces that are drawn: the most regular one, and the nearest one of each other style that there is."""
    chosen = [family.faces[0]]
    for weight, slanted in STYLES[1:]:
        near = min(family.faces, key=lambda face: (*_distance(face, (weight, slanted)), face.style, face.sha256))
        if near.slanted == slanted and near.width == chosen[0].width and abs(near.weight - weight) <= 100:
            chosen.append(near)
    return list(dict.fromkeys(chosen))


def _written(target: Target, families: Sequence[Family], classes: Sequence[int], seed: int, work: _Work) -> Prepared:
    """Write images, lists and manifest. A further face that lacks a class, or draws two alike, is left out."""
    characters = [CANDIDATES[number] for number in classes]
    faces = {family.name: _styles(family) for family in families}
    work.total += sum(map(len, faces.values())) * len(classes)
    digest, paths, used = hashlib.sha256(), dict[str, list[str]](), list[Face]()
    for number, family in enumerate(families):
        paths[family.name] = []
        for place, face in enumerate(faces[family.name]):
            images = family.images[classes] if place == 0 else _further(face, characters, target.left_out)
            if images is not None:
                used.append(face)
                for character, image in zip(characters, images, strict=True):
                    path = f"images/{number:03d}-{_plain(family.name)}/{place}/{ord(character):04x}.png"
                    target.save(path, png(image))
                    digest.update(f"{path}\n".encode() + image.tobytes())
                    paths[family.name].append(path)
            work.add(len(classes))
    parts = parts_of([*paths], seed)
    for name, of in (("train_labelled", ["labelled"]), ("train_unlabelled", ["unlabelled"]), ("val", ["val"]),
                     ("train_all", ["labelled", "unlabelled"]), ("test", ["test"])):  # fmt: skip
        listed = [path for part in of for family_name in parts[part] for path in paths[family_name]]
        labels = [number for _ in range(len(listed) // len(classes)) for number in range(len(classes))]
        target.save_list(f"{name}.txt", listed, None if name == "train_unlabelled" else labels)
    digest.update(target.digest_of_lists().encode())
    target.facts = {
        "digest": digest.hexdigest(),
        "families": {part: len(names) for part, names in parts.items()},
        "drawn_with": {"pillow": PIL.__version__, "freetype": features.version("freetype2")},
        "fonts": _font_facts(used, {name: part for part, names in parts.items() for name in names}),
    }
    return target.finish(characters)


def _further(face: Face, characters: Sequence[str], left_out: LeftOut) -> np.ndarray | None:
    """Return what a further face of a family draws, or None, with a note, where that is no whole set of classes."""
    try:
        images = _images(Pen(face), characters)
    except (OSError, ValueError) as error:
        left_out.add(face.file, "a font that cannot be drawn", f"{face.family} {face.style}: {error}")
        return None
    if not images.any(axis=(1, 2)).all() or np.triu(alike(images, images), 1).any():
        what = f"{face.family} {face.style}"
        left_out.add(face.file, "a further style that lacks a class or draws two alike", what)
        return None
    return images


def _font_facts(faces: Sequence[Face], part: Mapping[str, str]) -> list[dict[str, object]]:
    packages = packages_of({face.file for face in faces})
    facts = []
    for face in faces:
        package, version = packages.get(face.file, (None, None))
        facts.append(
            {"family": face.family, "style": face.style, "part": part[face.family], "file": face.file.name,
             "number": face.number, "sha256": face.sha256, "package": package, "version": version}
        )  # fmt: skip
    return facts


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
