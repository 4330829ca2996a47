# ruff: noqa: E501 - tables of pieces
"""Every reader of bytes that other people made: what it reads, valid files to begin with, and the memory it may take.

A reader gets a folder with the file in it, and returns or raises an `SsldError` of one line.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

MB = 1 << 20
PIXELS = 1 << 20  # images of the fuzzing have no more, so that a decoder that asks for memory is seen


@dataclass(frozen=True)
class Reader:
    """read: reads the file `name` of a folder. valid: gives files that it reads. parts: gives pieces of such files.

    repair: makes checksums of changed bytes right again. growth, fixed: the bytes of memory that it may take: so many for
    each byte of the file, and so many more.
    """

    read: Callable[[Path], object]
    name: str
    valid: Callable[[], list[bytes]]
    parts: tuple[bytes, ...] = ()
    repair: Callable[[bytes], bytes] | None = None
    made: Callable[[], st.SearchStrategy[bytes]] | None = None
    growth: int = 40
    fixed: int = 8 * MB

    def bound(self, size: int) -> int:
        """Return the bytes of memory that a file of so many bytes may take."""
        return self.growth * size + self.fixed


def changed(reader: Reader) -> st.SearchStrategy[bytes]:
    """Files to give to a reader: valid ones with a few changes, and files that are made of parts."""
    valid = reader.valid()
    numbers = [value.to_bytes(size, order) for size in (1, 2, 4, 8) for order in ("little", "big")
               for value in (0, 1, (1 << (8 * size - 1)) - 1, 1 << (8 * size - 1), (1 << (8 * size)) - 1)]  # fmt: skip
    pieces = st.sampled_from([*numbers, *reader.parts, b"9" * 5000, b"\n", b"\0" * 600]) | st.binary(max_size=12)
    place = st.integers(0, max(map(len, valid)))
    edits = st.lists(
        st.tuples(st.sampled_from(["set", "insert", "cut", "end", "twice"]), place, place, pieces), max_size=5
    )

    @st.composite
    def edited(draw: Any) -> bytes:
        data = bytearray(draw(st.sampled_from(valid)))
        for kind, at, other, piece in draw(edits):
            at, other = at % (len(data) + 1), other % 64
            if kind == "set":
                data[at : at + len(piece)] = piece
            elif kind == "insert":
                data[at:at] = piece
            elif kind == "cut":
                del data[at : at + other]
            elif kind == "end":
                del data[at:]
            else:
                data[at:at] = data[at : at + other]
        return bytes(data)

    strategies = [edited()]
    if reader.repair:
        strategies.append(edited().map(reader.repair))
    if reader.made:
        strategies.append(reader.made())
    return st.one_of(strategies)


# --- weights


def _array() -> np.ndarray:
    return np.arange(6, dtype="float32").reshape(2, 3)


def _load(path: Path) -> None:
    from ssld.weights import store

    found = store.contents(path)
    for array in found.arrays.values():
        np.asarray(array if isinstance(array, np.ndarray) else array.read())


def _safetensors(header: object, data: bytes = bytes(24)) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _valid_safetensors() -> list[bytes]:
    arrays = {kind: {"dtype": kind, "shape": [2, 3], "data_offsets": [0, 6 * size]} for kind, size in
              (("F32", 4), ("BF16", 2), ("I64", 8), ("F8_E4M3", 1))}  # fmt: skip
    files = [_safetensors({"a": facts}, bytes(facts["data_offsets"][1])) for facts in arrays.values()]
    return [*files, _safetensors({"__metadata__": {"num_classes": "2", "arch": "x"}, "a": arrays["F32"]})]


def _made_safetensors() -> st.SearchStrategy[bytes]:
    number = st.integers(-1, 30) | st.sampled_from([2**31, 2**40, 2**63, 2**64, 10**30, 1.5, None, "2"])
    facts = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "F64", "U8", "BOOL", "F4", "I128", "", 3]),
            "shape": st.lists(number, max_size=40) | number,
            "data_offsets": st.lists(number, max_size=3),
        }
    )
    header = st.dictionaries(st.text(max_size=4), facts, max_size=3)
    notes = st.dictionaries(st.sampled_from(["num_classes", "input", "arch"]), st.text(max_size=8), max_size=3)
    both = st.builds(lambda h, n: _safetensors({**h, "__metadata__": n}), header, notes)
    return both | st.builds(
        _safetensors, number | st.lists(number) | st.dictionaries(st.text(max_size=3), number, max_size=2)
    )


def _read_safetensors(folder: Path) -> None:
    from ssld.weights import store

    _load(folder / "m.safetensors")
    store.noted_classes(folder / "m.safetensors")


def _valid_pickles() -> list[bytes]:
    tree = {"a.weight": _array(), "b": np.float64(1.5), "StructuredToParameterName@@": {"a.weight": "a_0"}}
    sliced = {"a@@.0": np.zeros(4, "f4"), "a@@.1": np.zeros(2, "f4")}
    sliced |= {"UnpackBigParamInfor@@": {"a": {"OriginShape": (2, 3), "slices": ["a@@.0", "a@@.1"]}}}
    return [pickle.dumps(value, protocol) for value in (tree, sliced) for protocol in (0, 2, 4)]


_PICKLED = (
    b"}", b"]", b"(", b")", b"d", b"l", b"t", b"s", b"u", b"a", b"e", b"R", b"b", b"N", b".", b"0", b"2", b"q\x01", b"h\x01",
    b"\x94", b"\x85", b"\x86", b"\x87", b"\x88", b"\x93", b"I5\n", b"L5L\n", b"F1.5\n", b"S'a'\n", b"U\x01a", b"X\x01\0\0\0a",
    b"C\x04abcd", b"\x8a\x01\x05", b"\x8b\xff\xff\xff\x7f", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cos\nsystem\n",
    b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n", b"ccollections\nOrderedDict\n",
    b"c_codecs\nencode\n", b"cbuiltins\ntuple\n", b"\x80\x05", b"\x95\xff\xff\xff\xff\0\0\0\0", b"Vf4\n", b"p300\n", b"g300\n",
)  # fmt: skip


def _tensors() -> list[bytes]:
    from tests.unit.weights_files import lodtensor

    return [lodtensor(_array()), lodtensor(_array(), levels=[(0, 2)]), lodtensor(np.zeros((0, 3), "float32"))]


def _tar(names: dict[str, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _tars(content: Callable[[], list[bytes]], ending: str) -> list[bytes]:
    first, *_ = content()
    names = {f"net/{'long' * 40}{ending}": first, f"net/b{ending}": first}
    return [_tar({f"a{ending}": first}), _tar(names, tarfile.GNU_FORMAT), _tar(names, tarfile.PAX_FORMAT)]


_TARRED = (b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"7", b"../a", b"/a", b"30 size=99999999999\n", b"\x80" + b"\xff" * 11,
           b"22 GNU.sparse.size=9\n", b"77777777777", b"ustar  \0", b"-1         ")  # fmt: skip


def _repaired_tar(data: bytes) -> bytes:
    """A tar of which every block that could be a header has the checksum of its bytes."""
    blocks = [bytearray(data[at : at + 512]) for at in range(0, len(data), 512)]
    for block in blocks:
        if len(block) == 512 and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


# --- lists and other texts


def _list(folder: Path) -> None:
    from ssld.data.lists import count_lines, read_list, read_names

    file = folder / "list.txt"
    read_names(file)
    count_lines(file)
    try:
        read_list(file, folder)
    finally:
        read_list(file, folder, 10)


def _lines() -> st.SearchStrategy[bytes]:
    words = st.sampled_from(
        ["a.jpg", "ü 1.PNG", "3", "-1", "+-5", "10", "0x3", "1e5", "9" * 18, "9" * 25, "٣", "²", "\ufeff", "\0"]
    )
    line = st.lists(words | st.text(max_size=4), max_size=4).map(" ".join)
    return st.lists(line, max_size=8).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))


def _classes(folder: Path) -> None:
    from ssld.foreign.classes import read_classes

    read_classes(folder / "classes.txt", 3)


RECIPE = b"""classes: 10
student: {arch: MobileNetV3_small_x0_35}
teacher: {arch: ResNet18, stage: teach}
stage:
  data: {train: [d/train.txt], val: d/val.txt, size: 32, batch: 8}
  optim: {lr: 0.1}
stages:
  teach: {network: teacher, epochs: 2, loss: {ce: {}}}
  distill: {epochs: 4, loss: {ssld: {}}}
export: {formats: [onnx]}
"""
_YAML = (b"[", b"{", b"}", b": ", b"- ", b"&a ", b"*a", b"<<: *a\n", b"!!python/object:os.system ", b"'", b'"', b"|\n", b"---\n", b"%", b"\t",
         b".inf", b".nan", b"1e999", b"0x10", b"1:30", b"~", b"? ", b"\xff\xfe", b"null", b"stages:", b"base: x.yaml\n", b"../../x")  # fmt: skip


def _recipe(folder: Path) -> None:
    from ssld.plans import load_plan

    load_plan(folder / "r.yaml", [])


def _card(folder: Path) -> None:
    from ssld.config import cards

    cards.find_teacher(str(folder / "c.yaml"))


def _valid_cards() -> list[bytes]:
    from ssld.paths import shelf

    return [file.read_bytes() for file in sorted(shelf("teachers").glob("*.yaml"))[:2]]


def _pins(folder: Path) -> None:
    from ssld.weights import first_checksums

    first_checksums.read(folder / "pins.yaml")


# --- networks, labels, images


def _onnx(folder: Path) -> None:
    from ssld.foreign.onnx_engine import OnnxEngine, onnx_digests

    (folder / "weights.bin").write_bytes(bytes(2000))
    onnx_digests(folder / "m.onnx")
    OnnxEngine(folder / "m.onnx", 1, None)


@cache
def _valid_onnx() -> list[bytes]:
    import onnx

    from tests.unit import foreign_files

    files = [foreign_files.model(side="s", outputs=("logits", "map")).SerializeToString()]
    for location in ("weights.bin", "../../../etc/passwd", "/etc/passwd", "", "sub/../weights.bin", "a\0b", "x" * 5000):
        model = foreign_files.model()
        for tensor in model.graph.initializer:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            tensor.external_data.add(key="location", value=location)
            tensor.external_data.add(key="length", value="9" * 30)
        files.append(model.SerializeToString())
    return files


def _shard(folder: Path) -> None:
    from ssld.labels import shard
    from ssld.labels.record import Layout

    layout = Layout(10, 4)
    for whole in (Layout(10, 10), layout):
        records, _ = shard.read(folder / "s.labels", whole.size, 3, "s")
        assert np.isfinite(records).all()
    layout.decode(shard.read_whole(folder / "s.labels", layout.size, 3, "s"))


def _valid_shards() -> list[bytes]:
    from ssld.labels.record import Layout

    logits = np.random.default_rng(0).standard_normal((3, 10)).astype("float32")
    records = [Layout(10, k).encode(logits) for k in (4, 10)]
    return [_shard_of(these, magic) for these in records for magic in _NAMES]


_NAMES = {b"ssldlab1": b"", b"ssldlab2": hashlib.sha256(b"s").digest()}  # of each version what stands before the sums


def _shard_of(records: np.ndarray, magic: bytes) -> bytes:
    head = struct.pack("<8sII", magic, records.shape[1], len(records)) + _NAMES[magic]
    return head + struct.pack("<I", zlib.crc32(records.tobytes())) + records.tobytes()


def _repaired_shard(data: bytes) -> bytes:
    end = 16 + len(_NAMES.get(data[:8], b""))
    return data[:end] + struct.pack("<I", zlib.crc32(data[end + 4 :])) + data[end + 4 :]


def _image(folder: Path) -> None:
    from ssld.data import readable
    from ssld.errors import DataError

    try:
        readable.for_dali((folder / "i.img").read_bytes())
        readable.decode((folder / "i.img").read_bytes())
    except readable.Unreadable as error:
        raise DataError(str(error)) from None


@cache
def _images(*endings: str) -> list[bytes]:
    from tests.unit.kinds_of_files import kinds

    return [kind.data for kind in kinds() if kind.name.endswith(endings) and kind.data]


def _repaired_png(data: bytes) -> bytes:
    from tests.unit.test_data_readable import with_right_checksums

    return with_right_checksums(data)


def _pool(folder: Path) -> None:
    from ssld.mine.sources import shards

    for shard in shards([folder / "pool.tar"]):
        shard.items()


def _of(name: str) -> Callable[[Path], None]:
    return lambda folder: _load(folder / name)


READERS = {
    "safetensors": Reader(_read_safetensors, "m.safetensors", _valid_safetensors, made=_made_safetensors),
    "pdparams": Reader(
        _of("m.pdparams"), "m.pdparams", _valid_pickles, _PICKLED, fixed=200 * MB,
        made=lambda: st.lists(st.sampled_from(_PICKLED), max_size=40).map(b"".join),
    ),
    "lodtensor": Reader(_of("folder"), "folder/a", _tensors),
    "weights.tar": Reader(_of("m.tar"), "m.tar", lambda: _tars(_tensors, ""), _TARRED, _repaired_tar),
    "pool.tar": Reader(_pool, "pool.tar", lambda: _tars(_tensors, ".png"), _TARRED, _repaired_tar),
    "list": Reader(_list, "list.txt", lambda: [b"a.jpg 1\nb c.png 0\n", b"a.jpg\n", "\ufeffü.png 3".encode()], made=_lines),
    "classes of a network": Reader(_classes, "classes.txt", lambda: [b"0\n1\n2\n"], made=_lines),
    "recipe": Reader(_recipe, "r.yaml", lambda: [RECIPE], _YAML, growth=400, fixed=32 * MB),
    "card": Reader(_card, "c.yaml", _valid_cards, _YAML, growth=400, fixed=32 * MB),
    "pins": Reader(_pins, "pins.yaml", lambda: [b"https://h/a:\n  sha256: 3f\n  bytes: 1\n"], _YAML, growth=400),
    "onnx": Reader(_onnx, "m.onnx", _valid_onnx, (b"../", b"/", b"\0", b"\xff\xff\xff\xff\x0f")),
    "labels": Reader(_shard, "s.labels", _valid_shards, repair=_repaired_shard),
    "jpeg": Reader(_image, "i.img", lambda: _images(".jpg"), fixed=24 * PIXELS + 16 * MB),
    "png": Reader(_image, "i.img", lambda: _images(".png"), repair=_repaired_png, fixed=24 * PIXELS + 16 * MB),
    "other images": Reader(
        _image, "i.img", lambda: _images(".tif", ".bmp", ".webp", ".ppm", ".pgm", ".jp2"), fixed=24 * PIXELS + 16 * MB
    ),
}  # fmt: skip
