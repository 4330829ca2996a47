"""This module writes weights in every format that they were published in, of the smallest network of each series.

A state is {our key: array}. A writer of a published format writes the names of `flavour`.
"""

import io
import pickle
import struct
import tarfile
from collections.abc import Iterator

import numpy as np

from ssld import models, weights
from ssld.models import base
from ssld.weights.recognise import shapes

CODES = {
    "bool": 0,
    "int16": 1,
    "int32": 2,
    "int64": 3,
    "float16": 4,
    "float32": 5,
    "float64": 6,
    "uint8": 20,
    "int8": 21,
}


def numbers(value) -> Iterator[float]:
    """Yield every number among the values of a mapping, list or tuple, however deep."""
    if isinstance(value, (int, float)):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from numbers(part)


def smallest(series):
    """Return the architecture of a series whose numbers (depths, widths ...) are the smallest. No network is made."""
    return min(
        (name for name in models.names() if models.series(name) == series),
        key=lambda name: sum(numbers(base._family(name).variants[name])),
    )


def all_series():
    return list(dict.fromkeys(map(models.series, models.names())))


def random_state(arch, classes=10, revision="2.x", seed=0):
    """Return {our key: random array}. No network is made."""
    rng = np.random.default_rng(seed)
    return {
        key: rng.uniform(0.5, 1.5, shape).astype("float32") for key, shape in shapes(arch, classes, revision).items()
    }


def published(arch, state, flavour="develop", revision="2.x"):
    """Return {name of `flavour`: array}."""
    return {name: state[ours] for name, ours in models.keymap(arch, flavour, revision).items()}


def varint(number):
    """Return a number in 7 bits a byte, the lowest first, with the highest bit set in all but the last."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def lodtensor(array, levels=()):
    """Return the bytes of one variable file; `levels` are the offsets of each level of detail."""
    shape = b"".join(b"\x10" + varint(size) for size in array.shape)
    description = b"\x08" + varint(CODES[array.dtype.name]) + shape
    detail = b"".join(struct.pack(f"<Q{len(level)}Q", 8 * len(level), *level) for level in levels)
    head = struct.pack("<IQ", 0, len(levels)) + detail + struct.pack("<Ii", 0, len(description)) + description
    return head + np.ascontiguousarray(array).tobytes()


def entries(names, top="net_pretrained/"):
    """Return {path: bytes} of the archive of 1.x of {name: array}."""
    return {f"{top}{name}": lodtensor(array) for name, array in names.items()}


def write_tar(path, files):
    """Write a tar. files: {path: bytes}, or {TarInfo: bytes} where more than a name matters."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_pdparams(path, names, protocol=2, parameter_names=None, slices=0):
    """Write a file as `paddle.save(state_dict)` does.

    `parameter_names` are written as StructuredToParameterName@@, or left out. With `slices` every array of at least so
    many numbers is cut into so many pieces, as one of 4 GB would be.
    """
    tree, parts = {}, {}
    for name, array in names.items():
        if 0 < slices <= array.size:
            pieces = [f"{name}@@.{i}" for i in range(slices)]
            tree |= dict(zip(pieces, np.array_split(array.ravel(), slices), strict=True))
            parts[name] = {"OriginShape": array.shape, "slices": pieces}
        else:
            tree[name] = array
    if slices:
        tree["UnpackBigParamInfor@@"] = parts
    if parameter_names:
        tree["StructuredToParameterName@@"] = parameter_names
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


def write(kind, folder, arch, state, revision="2.x"):
    """Write a file of one of KINDS and return its path."""
    flavour = {"develop": "develop", "2.0": "2.0", "sliced": "2.0"}.get(kind, "static")
    names = published(arch, state, flavour, revision)
    if kind == "tar":
        return write_tar(folder / f"{arch}_pretrained.tar", entries(names))
    if kind == "folder":
        return write_folder(folder / f"{arch}_pretrained", entries(names, top=""))
    if kind == "safetensors":
        weights.save(state, folder / "ours.safetensors", arch=arch, num_classes="10", revision=revision)
        return folder / "ours.safetensors"
    static = list(models.keymap(arch, "static", revision))
    parameter_names = {
        "2.0": dict(zip(names, static, strict=True)),
        "develop": {name: f"{i}.w_0" for i, name in enumerate(names)},
    }
    return write_pdparams(
        folder / f"{kind}.pdparams",
        names,
        4 if kind == "develop" else 2,
        parameter_names.get(kind),
        3 if kind == "sliced" else 0,
    )


KINDS = ("tar", "folder", "static", "2.0", "develop", "sliced", "safetensors")
