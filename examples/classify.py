"""The five likeliest classes of an image: python classify.py EXPORT IMAGE, EXPORT written with --with-preprocess."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


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
        image = Image.open(picture).convert("RGB")
    except OSError:
        sys.exit(f"{picture}: is no image that Pillow reads; give a JPEG or PNG file")
    size, scale = given["size"], given["resize"] / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    kind = Image.Resampling.BICUBIC if given.get("interpolation") == "cubic" else Image.Resampling.BILINEAR
    left, top = (width - size) // 2, (height - size) // 2
    cut = image.resize((width, height), kind).crop((left, top, left + size, top + size))
    (probabilities,) = session.run(None, {given["name"]: np.asarray(cut)[None]})[0]
    for index in np.argsort(-probabilities)[:5]:
        print(f"{probabilities[index]:.6f} {index} {names[index] if names else ''}".rstrip())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("classify.py: takes two arguments; python classify.py EXPORT IMAGE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
