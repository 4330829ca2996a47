# ruff: noqa: E501 - a table: one line a kind
"""A file of every kind that people have, with the pixels that it stands for: the truth of `test_data_kinds.py`."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 48
BACKGROUND = (255, 255, 255)


@dataclass(frozen=True)
class Kind:
    """title: of its row in docs/data.md; name: of the file; data: its bytes; truth: uint8 [HEIGHT, WIDTH, 3] as it is
    meant to be seen, None where it is meant to be refused; level: 1/255 that its coding may lose."""

    title: str
    name: str
    data: bytes
    truth: np.ndarray | None
    level: int = 0
    example: bool = True  # whether the program of examples/ refuses the file too


def smooth(seed: int = 0, channels: int = 3) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH, channels], soft so that a lossy coding loses little."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (3, 3, 4), dtype=np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.array(image)[..., :channels].copy()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=2)


def on_background(rgba: np.ndarray) -> np.ndarray:
    """Exact: rounded to the nearest level."""
    alpha = rgba[..., 3:].astype(int)
    return ((rgba[..., :3].astype(int) * alpha + np.array(BACKGROUND) * (255 - alpha) + 127) // 255).astype(np.uint8)


def png(rows: np.ndarray, depth: int, colours: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG file from the bytes of its rows, uint8 [HEIGHT, n], written without this project or Pillow."""
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colours, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [(b"IHDR", head), *more, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(part(*p) for p in parts)


def part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def without_segment(data: bytes, marker: int) -> bytes:
    """A JPEG file without the segments of one kind."""
    at, out = 2, data[:2]
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        out += b"" if data[at + 1] == marker else data[at:end]
        at = end
    return out + data[at:]


def jpegs() -> list[Kind]:
    rgb, ink = smooth(1), smooth(2)
    image = Image.fromarray(rgb)
    plain = saved(image, "JPEG", quality=95, subsampling=0)
    cmyk = Image.fromarray(np.dstack([255 - ink, np.zeros_like(ink[..., :1])]), "CMYK")
    by_adobe = saved(cmyk, "JPEG", quality=95)
    bare = without_segment(by_adobe, 0xEE)  # programs write the same numbers without the marker
    exif = Image.Exif()
    exif[274] = 6
    frames = [image, Image.fromarray(smooth(3))]
    many = io.BytesIO()
    frames[0].save(many, "MPO", save_all=True, append_images=frames[1:], quality=95)
    return [
        Kind("JPEG", "plain.jpg", plain, rgb, 8),
        Kind("JPEG, progressive", "progressive.jpg", saved(image, "JPEG", quality=95, progressive=True), rgb, 16),
        Kind("JPEG, grey", "grey.jpg", saved(Image.fromarray(rgb[..., 0]), "JPEG", quality=95), grey(rgb[..., 0]), 8),
        Kind("JPEG, RGB without YCbCr", "rgb.jpg", saved(image, "JPEG", quality=95, keep_rgb=True), rgb, 8),
        Kind("JPEG, CMYK of Adobe", "cmyk.jpg", by_adobe, ink, 8),
        Kind("JPEG, CMYK without Adobe's marker", "cmyk_bare.jpg", bare, ink, 8),
        Kind("JPEG with an orientation tag", "turned.jpg", saved(image, "JPEG", quality=95, exif=exif), rgb, 16),
        Kind("JPEG, several pictures (MPO)", "several.jpg", many.getvalue(), rgb, 16),
        Kind("JPEG with junk between its segments", "junk.jpg", plain[:20] + b"junk\0" + plain[20:], rgb, 8),
        Kind("JPEG with other bytes after its end", "after.jpg", plain + b"more" * 9, rgb, 8),
        Kind("JPEG, cut", "cut.jpg", plain[: len(plain) // 2], None),
    ]


def pngs() -> list[Kind]:
    rgb, rgba = smooth(4), smooth(5, 4)
    rgba[:24, :, 3] = 0
    rgba[24:36, :, 3] = 255
    image, whole = Image.fromarray(rgb), saved(Image.fromarray(rgb), "PNG")
    table = image.quantize(17)
    hidden = np.asarray(table.convert("RGB")).copy()
    hidden[np.asarray(table) == 3] = BACKGROUND
    fine = np.random.default_rng(6).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(">u2")
    eight = np.rint(fine / 257).astype(np.uint8)
    shadow = np.dstack([rgb[..., 0], rgba[..., 3]])
    half = np.dstack([np.full((HEIGHT, WIDTH, 3), 9, np.uint8), rgba[..., 3]])
    clear = struct.pack(">H", int(fine[0, 0, 0]))
    on_clear = np.where(fine[..., 0] == fine[0, 0, 0], 255, eight[..., 0]).astype(np.uint8)
    wide = fine.reshape(HEIGHT, -1).view(np.uint8)
    narrow = np.ascontiguousarray(fine[..., 0]).view(np.uint8)
    at = whole.index(b"IDAT") + 30
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    short = png(rgb.reshape(HEIGHT, -1)[:20], 8, 2)
    return [
        Kind("PNG", "plain.png", whole, rgb),
        Kind("PNG, grey", "grey.png", saved(Image.fromarray(rgb[..., 0]), "PNG"), grey(rgb[..., 0])),
        Kind("PNG, 1 bit", "bit.png", saved(image.convert("1"), "PNG"), grey(np.asarray(image.convert("1")) * np.uint8(255))),
        Kind("PNG, palette", "palette.png", saved(table, "PNG"), np.asarray(table.convert("RGB"))),
        Kind("PNG, palette with a clear colour", "clear.png", saved(table, "PNG", transparency=3), hidden),
        Kind("PNG, RGBA", "rgba.png", saved(Image.fromarray(rgba, "RGBA"), "PNG"), on_background(rgba)),
        Kind("PNG, RGBA of one hidden colour", "shape.png", saved(Image.fromarray(half, "RGBA"), "PNG"), on_background(half)),
        Kind(
            "PNG, grey and alpha", "la.png", saved(Image.fromarray(shadow, "LA"), "PNG"),
            on_background(np.dstack([grey(rgb[..., 0]), rgba[..., 3]])),
        ),
        Kind("PNG, grey of 16 bits", "grey16.png", png(narrow, 16, 0), grey(eight[..., 0])),
        Kind("PNG, grey of 16 bits with a clear level", "clear16.png", png(narrow, 16, 0, (b"tRNS", clear)), grey(on_clear)),
        Kind("PNG, RGB of 16 bits", "rgb16.png", png(wide, 16, 2), eight, 1),
        Kind("PNG, RGB of 16 bits with a clear colour", "clearrgb16.png", png(wide, 16, 2, (b"tRNS", clear * 3)), None),
        Kind("PNG, interlaced", "interlaced.png", INTERLACED, np.full((HEIGHT, WIDTH, 3), (200, 30, 90), np.uint8)),
        Kind("PNG, cut in its image data", "cut.png", whole[: len(whole) // 2], None),
        Kind("PNG of 20 bytes", "twenty.png", whole[:20], None),
        Kind("PNG with a wrong checksum", "checksum.png", flipped, None),
        Kind("PNG with too few rows, checksums right", "short.png", short, None, example=False),
    ]  # fmt: skip


def _interlaced() -> bytes:
    """Adam7 of one colour: seven small images one after the other."""
    raw = b""
    for left, top, right, down in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:
        raw += (b"\0" + bytes((200, 30, 90)) * len(range(left, WIDTH, right))) * len(range(top, HEIGHT, down))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(part(*p) for p in parts)


INTERLACED = _interlaced()


def tiffs() -> list[Kind]:
    rgb = smooth(7)
    levels = np.random.default_rng(8).integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    exif = Image.Exif()
    made = []
    for turn in (3, 6, 8):
        exif[274] = turn
        turned = saved(Image.fromarray(rgb), "TIFF", exif=exif, compression="tiff_lzw" if turn == 8 else None)
        made.append(Kind(f"TIFF with orientation {turn}", f"turned{turn}.tif", turned, rgb))
    whole = rgb[..., 0].astype(np.int32)
    small = rgb[..., 0].astype(np.float32)
    return [
        Kind("TIFF", "plain.tif", saved(Image.fromarray(rgb), "TIFF"), rgb),
        Kind("TIFF, LZW", "lzw.tif", saved(Image.fromarray(rgb), "TIFF", compression="tiff_lzw"), rgb),
        *made,
        Kind("TIFF, grey of 16 bits", "grey16.tif", saved(Image.fromarray(levels), "TIFF"), grey(np.rint(levels / 257).astype(np.uint8))),
        Kind("TIFF, whole numbers of 32 bits", "int32.tif", saved(Image.fromarray(whole), "TIFF"), None),
        Kind("TIFF, floats", "float.tif", saved(Image.fromarray(small), "TIFF"), None),
    ]  # fmt: skip


def others() -> list[Kind]:
    rgb, rgba = smooth(9), smooth(10, 4)
    image, clear = Image.fromarray(rgb), Image.fromarray(rgba, "RGBA")
    levels = np.random.default_rng(11).integers(0, 65536, (HEIGHT, WIDTH)).astype(">u2")
    pgm = f"P5\n{WIDTH} {HEIGHT}\n65535\n".encode() + levels.tobytes()
    return [
        Kind("WebP, lossless", "plain.webp", saved(image, "WEBP", lossless=True), rgb),
        Kind("WebP, lossy", "lossy.webp", saved(image, "WEBP", quality=95), rgb, 24),
        Kind("WebP with transparency", "clear.webp", saved(clear, "WEBP", lossless=True, exact=True), on_background(rgba)),
        Kind("BMP", "plain.bmp", saved(image, "BMP"), rgb),
        Kind("PPM", "plain.ppm", saved(image, "PPM"), rgb),
        Kind("PGM of 16 bits", "grey16.pgm", pgm, grey(np.rint(levels / 257).astype(np.uint8))),
        Kind("JPEG 2000, lossless", "plain.jp2", saved(image, "JPEG2000"), rgb),
        Kind("GIF", "plain.gif", saved(image, "GIF"), None),
        Kind("AVIF", "plain.avif", saved(image, "AVIF"), None),
        Kind("text", "text.jpg", b"no image at all", None),
        Kind("nothing", "empty.png", b"", None),
    ]  # fmt: skip


def kinds() -> list[Kind]:
    return [*jpegs(), *pngs(), *tiffs(), *others()]
