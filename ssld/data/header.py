"""Height and width of an encoded image from its first bytes: no pixel is decoded."""

from __future__ import annotations

import io
import struct

from PIL import Image

_NO_SIZE = frozenset((0xC4, 0xC8, 0xCC))  # DHT, JPG, DAC: in the range of the start-of-frame markers, but none


def image_size(data: bytes) -> tuple[int, int]:
    """(height, width) in pixels as stored, EXIF orientation not applied.

    JPEG (ITU-T T.81, B.2.2) and PNG (ISO/IEC 15948, 11.2.2) are read here in microseconds, other formats by Pillow.
    Raises ValueError or OSError for bytes that are no image.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    with Image.open(io.BytesIO(data)) as image:
        return image.height, image.width


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at, end = 2, len(data) - 9
    while at <= end:
        if data[at] != 0xFF:
            raise ValueError("damaged JPEG header")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            if not height or not width:
                raise ValueError("JPEG without a size")
            return height, width
        elif marker in (0xD9, 0xDA):
            break
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("JPEG header ends before the size")
