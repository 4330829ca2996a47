"""Compiled resizing on a CPU: the bits of DALI's, wherever it can be compiled."""

import hashlib
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ssld.data import Augment, EvalLoader, FileList, Loader, resample
from ssld.data.normalise import normalised
from tests.campaign.damage import WAYS, damage

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, resample.COMPILERS)), reason="no C compiler: DALI resizes, there is nothing to compare"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing remembered before or after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    resample._library.cache_clear()
    yield tmp_path / "cache" / "ssld" / "compiled"
    resample._library.cache_clear()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """36 files of as many sizes, JPEG and PNG."""
    root, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    paths = [f"{i}.{'jpg' if i % 2 else 'png'}" for i in range(36)]
    for path in paths:
        height, width = rng.integers(8, 150, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / path)
    return FileList(paths, np.zeros(36, dtype=np.int64), str(root))


def noise(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("seed", range(4))
def test_every_bit_is_that_of_dalis_resize_and_of_numpys_normalisation(interpolation, seed):
    rng = np.random.default_rng(seed)
    count, size = 40, int(rng.integers(8, 90))
    resized = rng.integers(size, size + 80, (count, 2))
    shapes = rng.integers(3, 300, (count, 2))
    shapes[::4] = 2 * resized[::4]  # many sums end in one half
    shapes[1::8] = resized[1::8]  # nothing to resize
    shapes[2] = (1, 1)
    images = [noise(rng, *shape) for shape in shapes]
    corner, flip = rng.integers(0, resized - size + 1), rng.integers(0, 2, count)
    erase_anchor = rng.integers(0, size, (count, 2))
    erase_shape = rng.integers(0, size - erase_anchor + 1)
    shift = rng.integers(-size - 2, size + 3, (count, 2)) * (rng.random((count, 1)) < 0.7)
    jobs = resample.jobs(count, resized, corner, flip, erase_anchor, erase_shape, shift)

    whole = resample.resized_by_dali(images, resized, interpolation)
    cut = np.stack([w[t : t + size, x : x + size] for w, (t, x) in zip(whole, corner, strict=True)])
    padded = np.pad(cut, ((0, 0), (size + 2, size + 2), (size + 2, size + 2), (0, 0)))
    cut = np.stack([p[t : t + size, x : x + size] for p, (t, x) in zip(padded, shift + size + 2, strict=True)])
    wanted = normalised(cut, MEAN, STD, flip, (erase_anchor, erase_shape))
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    resample.resampler(interpolation, MEAN, STD, 2)(images, resample.jobs(count, resized, corner, shift=shift), pixels)
    assert pixels.tobytes() == cut.tobytes()
    for threads in (1, 3):
        found = np.full((count, 3, size, size), np.nan, dtype=np.float32)
        resample.resampler(interpolation, MEAN, STD, threads)(images, jobs, found)
        assert found.tobytes() == wanted.tobytes()


def batches(files, size, interpolation, threads, auto):
    """Of a training and an evaluation."""
    look = {"size": size, "mean": MEAN, "std": STD, "interpolation": interpolation, "threads": threads}
    augment = Augment(area=(0.2, 1), erase=0.0 if auto == "autoaugment" else 0.5, auto=auto, pad=size // 9)
    train = Loader(files, batch=12, augment=augment, seed=3, **look)
    evaluation = EvalLoader(files, batch=10, resize=size + 9, **look)
    made = [batch["image"].numpy().copy() for batch in (*train.batches(1, 5), *evaluation.batches())]
    assert len(made) == 8
    return made


@pytest.mark.parametrize("auto", ["none", "autoaugment", "randaugment"])
@pytest.mark.parametrize(("size", "interpolation", "threads"), [(28, "linear", 1), (61, "cubic", 2), (96, "linear", 3)])
def test_loaders_give_the_same_images_where_nothing_can_be_compiled(
    files, monkeypatch, size, interpolation, threads, auto
):
    compiled = batches(files, size, interpolation, threads, auto)
    asked = []
    monkeypatch.setattr(resample, "_library", lambda: asked.append(1))
    by_dali = batches(files, size, interpolation, threads, auto)
    assert len(asked) == 2
    assert [a.tobytes() for a in compiled] == [b.tobytes() for b in by_dali]


def test_it_is_compiled_once_and_then_taken_from_the_cache(cache, monkeypatch, capfd):
    assert resample.resampler("linear", MEAN, STD, 1)
    (kept,) = cache.iterdir()
    resample._library.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert resample.resampler("linear", MEAN, STD, 1)
    assert list(cache.iterdir()) == [kept]
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(resample.dali, "__version__", "0.0")  # another DALI may round otherwise: compare again
    with pytest.raises(resample.Missing, match="no C compiler"):
        resample.library()


def says(capfd):
    assert resample.resampler("linear", MEAN, STD, 1) is None
    assert resample.resampler("cubic", MEAN, STD, 2) is None
    (line,) = capfd.readouterr().err.splitlines()  # once, not for every loader
    assert line.startswith("images are resized by DALI, for the same pixels in more time: ")
    return line


def test_one_line_says_that_there_is_no_compiler(cache, monkeypatch, capfd):
    monkeypatch.setenv("PATH", "")
    assert "no C compiler (cc, gcc, clang); install one or set CC" in says(capfd)


@pytest.mark.parametrize(
    ("compiler", "said"), [("false", "exit status 1"), ("no-such-compiler", "no-such-compiler does not run")]
)
def test_one_line_says_that_the_compiler_failed(cache, monkeypatch, capfd, compiler, said):
    monkeypatch.setenv("CC", compiler)
    assert said in says(capfd)
    assert list(cache.iterdir()) == []


def test_one_line_says_that_the_code_has_a_fault(cache, tmp_path, monkeypatch, capfd):
    (tmp_path / "resample.c").write_text("int ssld_resample(void) { return 0 }\n")
    monkeypatch.setattr(resample, "SOURCE", tmp_path / "resample.c")
    assert "cannot compile resample.c (" in (line := says(capfd))
    assert "error" in line


def test_code_that_rounds_otherwise_than_dali_is_not_used(cache, tmp_path, monkeypatch, capfd):
    source = resample.SOURCE.read_text(encoding="utf-8")
    (tmp_path / "resample.c").write_text(source.replace("even + (value - even == 0.5f", "even + (value - even == 2.5f"))
    assert (tmp_path / "resample.c").read_text() != source
    monkeypatch.setattr(resample, "SOURCE", tmp_path / "resample.c")
    assert "rounds otherwise" in says(capfd)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path, cache, monkeypatch, capfd):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    said = f"{tmp_path}/file/ssld/compiled: Not a directory; set XDG_CACHE_HOME to a folder for compiled code"
    assert said in says(capfd)


@pytest.fixture
def kept(cache, tmp_path, monkeypatch):
    """The compiled code in a cache that this process has loaded nothing from: to change what is loaded ends it."""
    resample.library()
    shutil.copytree(tmp_path / "cache", tmp_path / "other")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    (kept,) = (tmp_path / "other" / "ssld" / "compiled").iterdir()
    return kept


def test_damaged_code_in_the_cache_is_never_loaded_but_named_and_compiled_anew(kept, capfd):
    """Half a library ends the process with SIGBUS when it is loaded."""
    content, mode = kept.read_bytes(), kept.stat().st_mode
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    tried = []
    for way in WAYS:
        if way != "deleted" and damage(kept, way):
            assert resample.distrust(kept) in ("it is damaged (sha256)", "it is no file"), way
            tried.append(way)
        kept.rmdir() if kept.is_dir() else kept.unlink(missing_ok=True)
        kept.write_bytes(content)
        kept.chmod(mode)
    assert len(tried) >= len(WAYS) - 3
    assert resample.distrust(kept) is None
    damage(kept, "cut in its middle")
    resample.library()
    assert capfd.readouterr().err == f"{kept}: it is damaged (sha256); it is compiled anew\n"
    assert resample.distrust(kept) is None
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("of", "change", "said"),
    [
        ("file", lambda path: path.chmod(0o770), r"other users can write to \w+.so \(mode 770\)"),
        ("folder", lambda path: path.chmod(0o777), r"other users can write to compiled \(mode 777\)"),
        ("file", lambda path: os.chown(path, 12345, -1), r"\w+.so belongs to another user"),
    ],
    ids=["mode of the file", "mode of the folder", "owner of the file"],
)
def test_code_that_somebody_else_may_have_changed_is_not_loaded(of, change, said, kept):
    try:
        change(kept if of == "file" else kept.parent)
    except PermissionError:
        pytest.skip("only root gives files away")
    assert re.fullmatch(said, resample.distrust(kept))


def test_a_cache_that_others_can_write_to_is_named_and_not_used(cache, capfd):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert "other users can write to compiled (mode 777); set XDG_CACHE_HOME to a folder of your own" in says(capfd)
