"""The five likeliest classes of an image: python classify.py EXPORT IMAGE, EXPORT written with --with-preprocess."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation of a TIFF -> Pillow's way back to what is stored


def pixels_of(picture: Path, background: tuple[int, int, int]) -> Image.Image:
    """The RGB image of a file as a training sees it: as stored, transparent pixels on the background, 16 bits as 8.

    OSError, ValueError: it cannot be read, or has pixels of 32 bits.
    """
    with Image.open(picture, formats=FORMATS) as image:
        image.verify()  # the checksums of a PNG file
    with Image.open(picture, formats=FORMATS) as image:
        turn = TURNED.get(image.getexif().get(274)) if image.format == "TIFF" else None
        image.load()
        clear = image.info.get("transparency")
        shown = image if turn is None else image.transpose(Image.Transpose(turn))
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
            levels = np.asarray(shown).astype(np.uint32)
            shown = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
            if clear is not None:
                shown.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
        elif image.mode in ("I", "F") or (isinstance(clear, tuple) and max(clear) > 255):
            raise ValueError("32 bits a pixel, or a transparent colour of 16 bits")
        if not shown.has_transparency_data:
            return shown.convert("RGB")
        shown = shown.convert("RGBA")
        canvas = Image.new("RGB", shown.size, background)
        canvas.paste(shown, mask=shown.getchannel("A"))
        return canvas


def resized(side: int, resize: int, short: int) -> int:
    """The length of a side after the short side became `resize`; halves are rounded up."""
    return (2 * side * resize + short) // (2 * short)


def centre(image: Image.Image, size: int, resize: int, interpolation: str) -> np.ndarray:
    """The short side to `resize`, antialiased, then the square in the middle: uint8 [size, size, 3]."""
    width, height = (max(size, resized(side, resize, min(image.size))) for side in image.size)
    kind = Image.Resampling.BICUBIC if interpolation == "cubic" else Image.Resampling.BILINEAR
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.resize((width, height), kind).crop((left, top, left + size, top + size)))


def main(export: Path, picture: Path) -> None:
    try:
        contract = json.loads((export / "contract.json").read_text(encoding="utf-8"))
        given, names = contract["input"], contract.get("class_names")
    except (OSError, ValueError, KeyError):
        sys.exit(f"{export}/contract.json: is no contract of an export; write one with `ssld export`")
    if given["dtype"] != "uint8":
        sys.exit(f"{export}: takes normalised numbers, not pixels; export it with --with-preprocess")
    try:
        session = onnxruntime.InferenceSession(export / "model.onnx", providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has many kinds
        raise SystemExit(f"{export}/model.onnx: is no model that ONNX Runtime reads; export it again") from error
    try:
        image = pixels_of(picture, tuple(given.get("background", (255, 255, 255))))
    except Exception as error:  # Pillow has many kinds
        raise SystemExit(f"{picture}: is no image that can be read ({error}); give a JPEG or PNG file") from error
    cut = centre(image, given["size"], given["resize"], given.get("interpolation", "linear"))
    (probabilities,) = session.run(None, {given["name"]: cut[None]})[0]
    for index in np.argsort(-probabilities)[:5]:
        print(f"{probabilities[index]:.6f} {index} {names[index] if names else ''}".rstrip())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("classify.py: takes two arguments; python classify.py EXPORT IMAGE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
