"""Read what font files say of their faces, draw characters of them, and say which Debian package a file is of.

Only TrueType and OpenType files are read, alone or as a collection. Which characters a face has, and how they look, is
not read but drawn, see `Pen`; of the tables of a file those are read that name the family and the style.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
BEGINNINGS = (b"\0\1\0\0", b"OTTO", b"true")  # of a face with outlines of TrueType or of CFF
SIZE = 32  # pixels of a side of an image
CAPITAL, BASE = 16, 24  # the height of an H, and where it stands: accents and descenders have 8 pixels each
FINER = 4  # characters are drawn so many times larger, so that hinting and rounding of outlines hardly show
NOWHERE = "\uffff"  # no character, so that every font draws its sign for a missing one
DPKG = Path("/var/lib/dpkg")


@dataclass(frozen=True)
class Face:
    """Describe a face of a font file. `number` is its place in a collection, `sha256` that of the file.

    weight: 400 is regular, 700 bold; width: 5 is neither narrow nor wide.
    """

    file: Path
    number: int
    sha256: str
    family: str
    style: str
    weight: int
    width: int
    slanted: bool


class Pen:
    """Draw characters of a face as grey images, white on black, uint8 [SIZE, SIZE].

    All stand on one line, in the middle of the image, and capitals of all faces are equally high; so size and place
    tell c from C, and tell nothing of the font. It raises OSError for a face that cannot be drawn, ValueError for one
    without an H.
    """

    def __init__(self, face: Face):
        def font(size: float) -> ImageFont.FreeTypeFont:
            return ImageFont.truetype(face.file, size, index=face.number, layout_engine=ImageFont.Layout.BASIC)

        _, top, _, bottom = font(256).getbbox("H", anchor="ls")
        if bottom <= top:
            raise ValueError("draws no H")
        self._font = font(256 * CAPITAL * FINER / (bottom - top))
        self._missing = self._drawn(NOWHERE)

    def draw(self, character: str) -> np.ndarray | None:
        """Return the image of a character, or None where the face lacks it: it is drawn blank, or as a missing one."""
        image = self._drawn(character)
        return None if not image.any() or np.array_equal(image, self._missing) else image

    def _drawn(self, character: str) -> np.ndarray:
        side = SIZE * FINER
        left, _, right, _ = self._font.getbbox(character, anchor="ls")
        image = Image.new("L", (side, side))
        x = (side - (right - left)) // 2 - left
        ImageDraw.Draw(image).text((x, BASE * FINER), character, fill=255, font=self._font, anchor="ls")
        return np.asarray(image.reduce(FINER))


def faces_of(file: Path) -> list[Face]:
    """Return the faces of a font file.

    It raises ValueError for what is no such file, OSError where it cannot be read.
    """
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        starts = [0]
        if content[:4] == b"ttcf":
            (count,) = struct.unpack_from(">I", content, 8)
            starts = list(struct.unpack_from(f">{min(count, 1000)}I", content, 12))
        return [_face(file, number, digest, content, start) for number, start in enumerate(starts)]
    except struct.error:
        raise ValueError("cut off") from None


def _face(file: Path, number: int, digest: str, content: bytes, start: int) -> Face:
    if content[start : start + 4] not in BEGINNINGS:
        raise ValueError("no TrueType or OpenType font")
    (count,) = struct.unpack_from(">H", content, start + 4)
    tables = {}
    for i in range(count):
        tag, _, place, length = struct.unpack_from(">4sIII", content, start + 12 + 16 * i)
        tables[tag] = content[place : place + length]
    names = _names(tables.get(b"name", b""))
    family, style = names.get(16) or names.get(1), names.get(17) or names.get(2) or ""
    if not family:
        raise ValueError("names no family")
    weight, width, slanted = 400, 5, False
    if metrics := tables.get(b"OS/2"):
        weight, width = struct.unpack_from(">HH", metrics, 4)
        slanted = bool(struct.unpack_from(">H", metrics, 62)[0] & 0x201)  # italic or oblique
    return Face(file, number, digest, family, style, weight, width, slanted)


def _names(table: bytes) -> dict[int, str]:
    """Return the English names of a face by their numbers.

    1 and 2 are family and style as programs know them that have four styles of a family; 16 and 17, where they are
    there, those with all styles in one family.
    """
    if not table:
        return {}
    _, count, start = struct.unpack_from(">HHH", table)
    names: dict[int, tuple[int, str]] = {}
    for i in range(count):
        platform, _, language, number, length, place = struct.unpack_from(">6H", table, 6 + 12 * i)
        rank = {(3, 0x409): 3, (0, 0): 2, (1, 0): 1}.get((platform, language), 0)
        content = table[start + place : start + place + length]
        text = content.decode("mac-roman" if platform == 1 else "utf-16-be", errors="replace")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if text and rank > names.get(number, (-1, ""))[0]:
            names[number] = (rank, text)
    return {number: text for number, (_, text) in names.items()}


def packages_of(files: Iterable[Path], dpkg: Path = DPKG) -> dict[Path, tuple[str, str]]:
    """Return the Debian package, and its version, of the files that one of dpkg's lists names.

    Where there is no dpkg, and for other files, nothing is said.
    """
    wanted: dict[str, Path] = {}
    for file in files:
        wanted |= {str(file): file, str(file.resolve()): file}
    found: dict[Path, str] = {}
    for listed in sorted((dpkg / "info").glob("*.list")):
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            if line in wanted:
                found.setdefault(wanted[line], listed.stem)
    versions = _versions(dpkg / "status") if found else {}
    return {file: (name.partition(":")[0], versions.get(name, versions.get(name.partition(":")[0], "")))
            for file, name in found.items()}  # fmt: skip


def _versions(status: Path) -> dict[str, str]:
    """Return the version of each package that dpkg's file names."""
    versions = {}
    for block in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        facts = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in facts:
            versions[facts["Package"]] = facts.get("Version", "")
    return versions
