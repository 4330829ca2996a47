"""These tests ask whether a `.pdparams` file can run nothing, change nothing and fill no memory.

They also ask whether nothing else in the package unpickles.
"""

import ast
import copyreg
import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from ssld import unpickle, weights
from ssld.errors import WeightsError

ROOT = Path(__file__).parents[2]


class Does:
    """An object that is pickled as the call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def array(state=None, cls=np.ndarray, shape=(0,)):
    """Return an array as NumPy pickles it, with the parts that an attacker may choose."""
    kind = np.dtype("float32")
    return Does(np.core.multiarray._reconstruct, cls, shape, b"b", state=state or (1, (1,), kind, False, b"\0\0\0\0"))


def refused(path, tree, protocol=2):
    """Return the line with which a pickled tree is refused."""
    path.write_bytes(tree if isinstance(tree, bytes) else pickle.dumps(tree, protocol))
    with pytest.raises(WeightsError) as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.pdparams"


class Sub(np.ndarray):
    pass


# --- nothing is run


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_no_function_of_a_file_is_called(path, tmp_path, protocol):
    ran = tmp_path / "ran"
    code = Does(eval, f"open({str(ran)!r}, 'w')")
    trees = [
        ("system", {"a": Does(os.system, f"touch {ran}")}),
        ("eval", {"a": np.zeros(2), "b": code}),
        ("exec", [Does(exec, code.parts[1][0])]),
        ("Popen", {"a": [{"b": (Does(subprocess.Popen, ["touch", str(ran)]),)}]}),
        ("getattr", {"a": Does(getattr, 1, "real")}),
        ("eval", {"a": array(state=(1, (1,), code, False, b"1234"))}),  # here it stands as the type of an array
        ("eval", {"a": array(state=(1, (1,), np.dtype("f4"), code, b"1234"))}),
        ("eval", {"a": array(state=Does(eval, f"open({str(ran)!r}, 'w')"))}),
        ("eval", Does(np.dtype, code)),
        ("eval", {"a": Does(np.core.multiarray.scalar, np.dtype("f4"), code)}),
        ("load", {"a": Does(np.load, str(ran))}),
        ("Sub", {"a": array(cls=Sub)}),
    ]
    for name, tree in trees:
        line = refused(path, tree, protocol)
        assert "it wants to run" in line
        assert f".{name}," in line
    assert not ran.exists()


HOLES = {
    "a registered extension": b"\x80\x02}X\x01\0\0\0a\x82\xf0s.",
    "a persistent name": b"}X\x01\0\0\0aPname\ns.",
    "a persistent object": b"}X\x01\0\0\0a(lQs.",
    "an instance of protocol 0": b"}X\x01\0\0\0a(ios\nsystem\ns.",
    "an object of protocol 1": b"}X\x01\0\0\0a(cnumpy\nndarray\nos.",
    "a new object": b"\x80\x02}X\x01\0\0\0acnumpy\nndarray\n)\x81s.",
    "a buffer from outside": b"\x80\x05}X\x01\0\0\0a\x97s.",
    "a call of no name": b"}X\x01\0\0\0aX\x01\0\0\0b)Rs.",
    "a call of a type": b"}X\x01\0\0\0acnumpy\nndarray\n(J\xff\xff\xff\x7ftRs.",
    "attributes of a dictionary": b"}X\x01\0\0\0a}}bs.",
    "attributes of a function": b"}X\x01\0\0\0ac_codecs\nencode\n(N}X\x0c\0\0\0__defaults__(X\x05\0\0\0rot13tstbs.",
    "attributes of a class": b"}X\x01\0\0\0acnumpy\nndarray\n(N}X\x0c\0\0\0__setstate__Nstbs.",
}


@pytest.mark.parametrize("name", HOLES)
def test_instructions_that_no_array_needs_are_refused(path, name):
    assert "it wants to " in refused(path, HOLES[name])


def test_an_extension_that_another_library_registered_is_not_looked_up(path):
    """`pickle.Unpickler` takes one from a cache of its own, past its `find_class`, once it was used."""
    copyreg.add_extension("posix", "system", 240)
    try:
        assert pickle.loads(b"\x80\x02\x82\xf0.") is os.system  # noqa: S301
        assert "use the pickle instruction EXT1" in refused(path, HOLES["a registered extension"])
    finally:
        copyreg.remove_extension("posix", "system", 240)
        copyreg.clear_extension_cache()


def test_a_name_with_line_breaks_in_it_stays_one_line(path):
    name = b"X\x04\0\0\0a\n\x1bb"
    assert r"run a\n\x1bb.a\n\x1bb, " in refused(path, b"\x80\x04}X\x01\0\0\0a" + name + name + b"\x93s.")


# --- nothing is larger than the file


def test_a_file_that_grows_when_it_is_read_is_refused(path):
    """One text is turned into bytes again and again: each copy takes 5 bytes of the file."""
    text = b"x" * 100_000
    encode = b"c_codecs\nencode\nq\x01X" + len(text).to_bytes(4, "little") + text + b"\x85q\x02"
    assert "it grows when it is read" in refused(path, b"(" + encode + b"h\x01h\x02R" * 1000 + b"l.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"abc.", "expected 1099511627776 bytes"),
        (b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"abc.", "expected 4611686018427387904 bytes"),
        (b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.", "holds a NoneType"),
        (b"\x80\x02}r\xff\xff\xff\xff0.", "use the pickle instruction POP"),
        (b"\x80\x02\x8b" + (1 << 30).to_bytes(4, "little") + b"a.", "truncated or not"),
        (b"I" + b"9" * 100_000 + b"\n.", "truncated or not"),
        (b"(" * 100_000 + b"t" * 100_000 + b".", "holds a tuple"),
        (b"(" + b"}" * unpickle.MOST + b"l.", "has more than 1,000,000 instructions, which no weights need"),
        (b"}I" + b"9" * 4000 + b"\nNs.", "an entry has a number for a name, not a text"),
        (b"}\x8b" + (9000).to_bytes(4, "little") + b"\x7f" * 9000 + b"Ns.", "an entry has a number for a name"),
    ],
)
def test_what_a_file_claims_is_not_believed(path, content, message):
    assert message in refused(path, content)


@pytest.mark.parametrize(
    "state",
    [
        (1, (1 << 40,), np.dtype("f4"), False, b"\0\0\0\0"),
        (1, (2,), np.dtype("f4"), False, b"\0\0\0\0"),
        (1, (1,), np.dtype("f4"), False, bytes(8)),
        (1, (-1,), np.dtype("f4"), False, b"\0\0\0\0"),
        (1, (1.0,), np.dtype("f4"), False, b"\0\0\0\0"),
        (1, [1], np.dtype("f4"), False, b"\0\0\0\0"),
        (1, (1,) * 70, np.dtype("f4"), False, b"\0\0\0\0"),
        (1, (0, 1 << 63), np.dtype("f4"), False, b""),
        (1, (0, 1 << 62), np.dtype("f4"), False, b""),
        (1, (1 << 10_000,) * 32, np.dtype("f4"), False, b"\0\0\0\0"),
        (1, (1,), "f4", False, b"\0\0\0\0"),
        (1, (1,), np.dtype("f4"), False, [1.0]),
        (1, (1,), np.dtype("O"), False, [1.0]),
        (1, (1,), np.dtype("f4,i4"), False, bytes(8)),
        (1, (1,), np.dtype("U1"), False, bytes(4)),
        (1, (1,), np.dtype("M8[s]"), False, bytes(8)),
        (1, (1,)),
        "state",
    ],
    ids=str,
)
def test_an_array_whose_parts_do_not_hold_is_refused(path, state):
    assert "m.pdparams: " in refused(path, {"a": array(state=state)})


def test_the_shape_of_an_array_that_is_still_empty_counts_for_nothing(path):
    path.write_bytes(pickle.dumps({"a": array(shape=(1 << 40,))}, 2))
    assert weights.load(path)["a"].tolist() == [0]


def test_an_array_that_was_never_filled_is_none(path):
    empty = Does(np.core.multiarray._reconstruct, np.ndarray, (1 << 40,), b"b")
    assert "entry 'a' is a NoneType" in refused(path, {"a": empty})


def test_slices_of_one_array_again_and_again_are_refused(path):
    piece = np.zeros(1000, "float32")
    names = [f"a@@.{i}" for i in range(1000)]
    tree = dict.fromkeys(names, piece) | {"UnpackBigParamInfor@@": {"a": {"OriginShape": (1000_000,), "slices": names}}}
    assert "the pieces of a are larger than the file" in refused(path, tree)


@pytest.mark.parametrize("shape", [(2, 1 << 64), (1 << 10_000, 1), (-1,), (2.0,), None])
def test_slices_of_a_shape_that_is_none_are_refused(path, shape):
    tree = {"a@@.0": np.zeros(2, "f4"), "UnpackBigParamInfor@@": {"a": {"OriginShape": shape, "slices": ["a@@.0"]}}}
    assert "its list of array pieces does not hold" in refused(path, tree)


def test_slices_of_several_types_are_refused(path):
    """Together they would take eight times as much."""
    tree = {"a@@.0": np.zeros(800, "u1"), "a@@.1": np.zeros(1, "f8")}
    tree |= {"UnpackBigParamInfor@@": {"a": {"OriginShape": (801,), "slices": ["a@@.0", "a@@.1"]}}}
    assert "the pieces of a are of several types" in refused(path, tree)


# --- what is harmless is read


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "i1", "<i8", "?"])
def test_arrays_of_every_type_and_order_come_back(path, protocol, dtype):
    c = np.arange(6).reshape(2, 3).astype(dtype)
    tree = OrderedDict(c=c, f=np.asfortranarray(c), one=np.array(c[0, 0]))
    path.write_bytes(pickle.dumps(tree, protocol))
    back = weights.load(path)
    assert list(back) == list(tree)
    for name, expected in tree.items():
        np.testing.assert_array_equal(back[name], expected)
        assert back[name].dtype == expected.dtype


def test_a_file_of_python_2_is_read(path):
    """Its text and its array bytes are both BINSTRING."""
    raw = np.array([1.5, -2], "<f4").tobytes()
    content = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f4K\0K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89U\x08"
        + raw
        + b"tbs."
    )
    path.write_bytes(content)
    assert weights.load(path)["a"].tolist() == [1.5, -2]


# --- the package


def calls(file):
    """Return (dotted name, keywords) of every call in a source file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


FORBIDDEN = (
    "paddle.load",
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "eval",
    "exec",
)


def unsafe(file):
    names = [name for name, _ in calls(file) if name in FORBIDDEN or name.endswith((".extract", ".extractall"))]
    return names + [name for name, words in calls(file) if words.get("allow_pickle", "False") != "False"]


@pytest.mark.parametrize(
    "file", sorted((ROOT / "ssld").rglob("*.py")), ids=lambda file: file.relative_to(ROOT).as_posix()
)
def test_nothing_in_the_package_unpickles_or_unpacks(file):
    assert not unsafe(file)
    imported = {
        alias.name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    imported |= {
        node.module
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    assert not imported & {"pickle", "cPickle", "_pickle", "dill", "shelve", "marshal"}


@pytest.mark.parametrize(
    "code",
    [
        "paddle.load(f)",
        "pickle.loads(b)",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "tar.extractall()",
        "eval(x)",
    ],
)
def test_the_test_above_sees_what_it_looks_for(tmp_path, code):
    (tmp_path / "x.py").write_text(f"def f():\n    return {code}\n")
    assert unsafe(tmp_path / "x.py")
