"""Read a file as an image: say whether it can be read, which pixels it holds, and why it cannot be used.

Whatever looks at images asks this module: training, evaluation, `ssld data check`, mining, label caches, benches and
reports. So they agree on what is readable and on what is seen. DALI decodes two kinds of file alone, the ordinary JPEG
and PNG files (see `ordinary_jpeg` and `ordinary_png`), after their structure was looked at; Pillow decodes all others.

These rules hold for every kind of file: an image is seen as it is stored, and no orientation tag is applied; of several
pictures in a file the first one counts; transparent pixels lie on a background colour; 16 bits of grey are scaled to 8
and rounded; pixels of 32 bits have no known range and are refused.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ssld.errors import DataError
from ssld.spec.colours import WHITE, Colour

PNG = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
ADAM7 = (  # corner and steps, across and down, of the seven passes of an interlaced PNG
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")  # as Pillow names them
LIMIT = 2**28 // 3  # pixels: 256 MiB of RGB; also where Pillow begins to warn of decompression bombs
LIMIT_VARIABLE = "SSLD_MAX_PIXELS"
LARGEST_FILE = 2**30  # bytes
ORIENTATION = 274  # the TIFF tag
UNTURN = {  # Pillow turns a TIFF image upright when it loads it; value of the tag -> what turns it back
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # start of frame: baseline, extended, progressive; all with Huffman codes
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}  # lossless, hierarchical, arithmetic

for category in (UserWarning, Image.DecompressionBombWarning):  # odd metadata and large images are no fault
    warnings.filterwarnings("ignore", category=category, module=r"PIL\.")


class Unreadable(Exception):
    """Say why a file cannot be used as an image, in a few words."""


@dataclass(frozen=True)
class Decoded:
    """Hold an image as it is seen: mode RGB, or L of a grey file; `transparent`: some pixels lay on the background."""

    image: Image.Image
    transparent: bool = False

    @property
    def flat(self) -> bool:
        """Say whether all its pixels have one colour."""
        bands = (band.getextrema() for band in self.image.split())
        return all(low == high for low, high in bands)


def most_pixels() -> int:
    """Return the largest number of pixels of an image: LIMIT, or the number in $SSLD_MAX_PIXELS.

    It raises DataError where the variable is no number.
    """
    limit = os.environ.get(LIMIT_VARIABLE, "")
    if not limit:
        return LIMIT
    if not limit.isascii() or not limit.isdecimal() or not 0 < int(limit[:20]) < 2**40:
        raise DataError(f"{LIMIT_VARIABLE}: {limit[:40]!r} is no number of pixels; give a whole number from 1 up")
    most = int(limit)
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow refuses from twice this number on
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most)
    return most


def content(image: str | bytes) -> bytes:
    """Return the bytes of an image file. image: a path, or the bytes themselves.

    It raises Unreadable where the path leads to no regular file, or to one that is empty.
    """
    if isinstance(image, bytes):
        if not image:
            raise Unreadable("the file is empty")
        return image
    try:
        status = os.stat(image)
        if not stat.S_ISREG(status.st_mode):  # a FIFO would wait for ever
            raise Unreadable("a folder" if stat.S_ISDIR(status.st_mode) else "no regular file")
        if status.st_size > LARGEST_FILE:
            raise Unreadable(f"a file of {status.st_size:,} bytes; at most {LARGEST_FILE:,} are read")
        with open(image, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise Unreadable("a dangling link" if os.path.islink(image) else "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from None
    return content(data)


def ordinary_jpeg(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a JPEG file of the kind that every decoder reads alike, from its segments; else None.

    Such a file has (ITU-T T.81, annex B): whole segments without anything between them, up to the first scan; one
    frame, baseline, extended or progressive with Huffman codes, 8 bits, of grey or of YCbCr; the marker of the end
    after it. The pixels themselves are not looked at: it takes microseconds. EXIF orientation is not applied.
    """
    if data[:2] != b"\xff\xd8":
        return None
    size, at, end = None, 2, len(data) - 4
    while at <= end and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _FRAMES and size is None:
            size = _frame(data, at)
        if marker == 0xDA:  # the first scan
            return size if data.rfind(b"\xff\xd9", at) > 0 else None
        if length < 2 or marker <= 0x01 or 0xD0 <= marker <= 0xD9 or not _usual(data, at, marker, size):
            return None
        at += 2 + length
    return None


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Return (height, width) of a frame header of 8 bits and one or three components; None of any other."""
    if len(data) < at + 19:
        return None
    precision, height, width, components = struct.unpack(">BHHB", data[at + 4 : at + 10])
    named_rgb = components == 3 and data[at + 10 : at + 17 : 3] == b"RGB"  # libjpeg takes such components for RGB
    if precision != 8 or components not in (1, 3) or named_rgb or not height or not width:
        return None
    return height, width


def _usual(data: bytes, at: int, marker: int, size: tuple[int, int] | None) -> bool:
    """Say whether a segment leaves the file an ordinary one: no second or other frame, and no colours but YCbCr."""
    if marker in _OTHER_FRAMES or (marker in _FRAMES and (size is None or size != _frame(data, at))):
        return False
    adobe = marker == 0xEE and data[at + 4 : at + 9] == b"Adobe"
    return not adobe or data[at + 15 : at + 16] == b"\x01"


def ordinary_png(data: bytes) -> tuple[bytes, tuple[int, int]] | None:
    """Return a whole PNG file, rewritten without compression, and its (height, width); return None for other files.

    The file has 8 bits, is grey or RGB, and neither interlaced nor transparent. Structure, checksums, the length of the
    image data and its filters are looked at (ISO/IEC 15948), and the rewritten file holds nothing else: a decoder of
    DALI that meets a damaged PNG file ends the process. To decompress it a second time costs next to nothing.
    """
    head = data[8:33]  # the first part: length, IHDR, 13 bytes, checksum
    if data[:8] != PNG or len(head) < 25 or head[16:21] not in (b"\x08\0\0\0\0", b"\x08\x02\0\0\0"):
        return None
    width, height = struct.unpack(">II", head[8:16])
    parts = _png_parts(data)
    if parts is None or any(kind in (b"tRNS", b"PLTE") for kind, _ in parts):
        return None
    _within_limit(width, height)
    raw = _png_rows(head, parts)
    if raw is None or max(raw[:: len(raw) // height]) > 4:
        return None
    body = zlib.compress(raw, 0)
    return b"".join((PNG, head, _png_part(b"IDAT", body), _png_part(b"IEND", b""))), (height, width)


def _check_png(data: bytes) -> None:
    """Refuse a PNG file that is not whole: Pillow reads the whole part of some of them, and says nothing."""
    parts = _png_parts(data)
    if parts is None:
        raise Unreadable("the PNG file is damaged: a wrong checksum, or its end is missing")
    if _png_rows(data[8:33], parts) is None:
        raise Unreadable("the PNG file is damaged: its image data are not those of its size")


def _png_rows(head: bytes, parts: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the image data of a PNG file, filtered rows, decompressed.

    It is None where the rows are damaged, or do not have the length that the header asks for.
    """
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", head[8:21])
    bits = depth * PNG_CHANNELS.get(colours, 0)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    length = 0
    for left, top, right, down in passes:
        across, rows = -(-(width - left) // right), -(-(height - top) // down)
        length += rows * (1 + (across * bits + 7) // 8) if across > 0 and rows > 0 else 0
    packer = zlib.decompressobj()
    try:
        raw = packer.decompress(b"".join(part for kind, part in parts if kind == b"IDAT"), length + 1)
    except zlib.error:
        return None
    return raw if len(raw) == length and length and packer.eof else None


def _png_parts(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return (kind, content) of the parts of a PNG file from the first to the last.

    It is None where one has a wrong checksum or the end is missing.
    """
    at, parts = len(PNG), []
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data) or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return None
        parts.append((kind, data[at + 8 : end - 4]))
        if kind == b"IEND":
            return parts
        at = end
    return None


def _png_part(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def for_dali(data: bytes, background: Colour = WHITE) -> tuple[bytes | npt.NDArray[np.uint8], tuple[int, int]]:
    """Return what DALI gets of a file, and the (height, width) of the image. It raises Unreadable.

    DALI gets an ordinary JPEG file itself, an ordinary PNG file rewritten, and of other files the pixels, uint8 [h, w,
    3], or [h, w] of grey.
    """
    size = ordinary_jpeg(data)
    if size is not None:
        _within_limit(size[1], size[0])
        return data, size
    whole = ordinary_png(data)
    if whole is not None:
        return whole
    pixels = np.asarray(decode(data, background).image)
    return pixels, (pixels.shape[0], pixels.shape[1])


def decode(data: bytes, background: Colour = WHITE) -> Decoded:
    """Return all pixels of a file as they are seen, decoded by Pillow. It raises Unreadable.

    background: the colour 0..255 that lies behind transparent pixels.
    """
    content(data)
    most_pixels()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _within_limit(image.width, image.height)
            return _seen(image, data, background)
    except (Unreadable, DataError):
        raise
    except UnidentifiedImageError:
        raise Unreadable(_unknown(data)) from None
    except Image.DecompressionBombError:
        raise Unreadable(_too_large("more than")) from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise almost anything on damaged bytes
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from None


def fault(image: str | bytes) -> str | None:
    """Say why a training could not use an image, in a few words; return None when it can. All of it is decoded.

    image: the path of a file, or the bytes of one.
    """
    try:
        examine(image)
    except Unreadable as error:
        return str(error)
    return None


def examine(image: str | bytes, background: Colour = WHITE) -> Decoded:
    """Return the image of a file that a training can use: every decoder that it meets there has read it.

    It raises Unreadable.
    """
    data = content(image)
    decoded = decode(data, background)
    if ordinary_jpeg(data):
        from ssld.data.decoder import refusal  # DALI takes a second to load

        reason = refusal(data)
        if reason:
            raise Unreadable(reason)
    return decoded


def _seen(image: Image.Image, data: bytes, background: Colour) -> Decoded:
    if image.format == "PNG":
        _check_png(data)
    turn = UNTURN.get(image.getexif().get(ORIENTATION, 1)) if image.format == "TIFF" else None
    if image.format == "TIFF":
        _check_tiff(image)
    image.load()
    shown = image if turn is None else image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":
        shown = _grey_of_16_bits(shown, str(image.format))
    if shown.has_transparency_data:
        clear = image.info.get("transparency")
        if isinstance(clear, tuple) and max(clear) > 255:
            raise Unreadable("16 bits a colour, one of them transparent; save it with 8 bits")
        return _composed(shown, background)
    return Decoded(shown if shown.mode in ("RGB", "L") else shown.convert("L" if shown.mode == "1" else "RGB"))


def _composed(image: Image.Image, background: Colour) -> Decoded:
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=alpha)
    return Decoded(canvas, transparent=alpha.histogram()[255] < alpha.width * alpha.height)


def _grey_of_16_bits(image: Image.Image, kind: str) -> Image.Image:
    """Scale grey of 16 bits to 8 bits, rounded. Pillow has such images as `I;16`, of PNM (and once of PNG) as `I`."""
    if not image.mode.startswith("I;16") and not (image.mode == "I" and kind in ("PNG", "PPM")):
        raise Unreadable(f"{kind} with pixels of 32 bits, whose range is not known; save it with 8 or 16 bits")
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if (clear := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow reads, but not as it is meant."""
    tags = getattr(image, "tag_v2", {})
    bits = set(tags.get(258, (1,)))
    if max(bits) > 8 and (bits != {16} or tags.get(262) == 0 or set(tags.get(339, (1,))) != {1}):
        if image.mode in ("I", "F"):
            return  # the caller names its format
        raise Unreadable(f"TIFF of {max(bits)} bits of an unusual kind; save it with 8 bits")


def _within_limit(width: int, height: int) -> None:
    if width * height > most_pixels():
        raise Unreadable(_too_large(f"{width} x {height} pixels are more than"))


def _too_large(begin: str) -> str:
    return f"{begin} {most_pixels():,} pixels; shrink the image, or set {LIMIT_VARIABLE} to a larger number"


def _unknown(data: bytes) -> str:
    """Say of bytes that are none of FORMATS what they are, where Pillow knows it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format
    except Exception:  # noqa: BLE001 - as above
        kind = None
    if kind is None or kind in FORMATS:
        return "no image that can be read: damaged, or of an unknown kind"
    return f"{kind} is not read; save it as PNG or JPEG"
