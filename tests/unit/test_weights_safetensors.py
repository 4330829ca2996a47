"""These tests ask what becomes of `.safetensors` files that others wrote, or that were made to do harm."""

import json
import struct

import numpy as np
import pytest

from ssld import weights
from ssld.distill.teacher_weights import CLASSES, classes_of
from ssld.errors import WeightsError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def write(path, dtype, shape, data, **metadata):
    """Write a file of one array, as its format is published: the size of a header, the header, the numbers."""
    header = {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}, "__metadata__": metadata}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def refused(path):
    with pytest.raises(WeightsError) as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bfloat16_becomes_float32_exactly(path):
    """The numbers are from the definition: a sign, 8 bits of exponent, 7 bits of fraction."""
    array = weights.load(write(path, "BF16", [2, 3], struct.pack("<6H", 0x3F80, 0xC000, 0x3F01, 0x0001, 0x7F80, 0)))
    assert array["a"].dtype == np.float32
    assert array["a"].tolist() == [[1.0, -2.0, 0.50390625], [2.0**-133, np.inf, 0.0]]


@pytest.mark.parametrize(
    "dtype", ["F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64"]
)
def test_types_that_numpy_knows_come_back(path, dtype):
    kind = {"F": "f", "I": "i", "U": "u", "B": "?", "C": "c"}[dtype[0]]
    expected = np.array([[0, 1], [1, 0]], dtype="?" if kind == "?" else f"<{kind}{int(dtype[1:]) // 8}")
    array = weights.load(write(path, dtype, [2, 2], expected.tobytes()))["a"]
    assert (array.dtype, array.tolist()) == (expected.dtype, expected.tolist())


@pytest.mark.parametrize(("dtype", "size"), [("F8_E4M3", 4), ("F8_E5M2", 4), ("F8_E8M0", 4), ("F4", 2)])
def test_types_of_8_bits_and_less_are_one_line(path, dtype, size):
    assert f"m.safetensors: a holds numbers of type {dtype}; save them as float32" in refused(
        write(path, dtype, [4], bytes(size))
    )


@pytest.mark.parametrize("shape", [[0, 1 << 62], [0, 1 << 63], [1 << 40, 1 << 40], [1] * 40, [-1], [1.5], ["1"], [2]])
def test_a_shape_that_is_none_is_one_line(path, shape):
    assert "damaged or not a safetensors file" in refused(write(path, "F32", shape, b"" if 0 in shape else bytes(4)))


@pytest.mark.parametrize("size", [0, 7, 1 << 40, (1 << 64) - 1])
def test_a_header_of_a_size_that_is_none_is_one_line(path, size):
    path.write_bytes(struct.pack("<Q", size) + b"{}")
    assert "damaged or not a safetensors file" in refused(path)


@pytest.mark.parametrize("number", ["99999999999", "9" * 5000, "0", "-1", "1e3", "ten", "", "5", "\uff12"])
def test_a_number_of_classes_that_no_array_has_is_refused(path, number):
    with pytest.raises(WeightsError) as caught:
        classes_of(write(path, "F32", [2, 1], bytes(8), num_classes=number))
    assert f"notes {number[:40]!r} classes, and holds no array of so many" in str(caught.value)


def test_the_number_of_classes_is_that_of_an_array_or_the_published_one(path):
    assert classes_of(write(path, "F32", [2, 1], bytes(8), num_classes="2")) == 2
    assert classes_of(write(path, "F32", [2, 1], bytes(8))) == CLASSES
