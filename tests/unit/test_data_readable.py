"""The one check of image files: what is ordinary, what is refused and why, and that no bytes end the process."""

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssld.data import Augment, EvalLoader, FileList, Loader, readable
from ssld.data.decoder import refusal
from ssld.data.readable import Unreadable, content, decode, examine, for_dali, ordinary_jpeg, ordinary_png
from ssld.errors import DataError
from ssld.spec.colours import colour_of
from tests.unit.kinds_of_files import jpegs, kinds, part, pngs, saved, smooth

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}
ROOT = Path(__file__).parents[2]
ORDINARY = (
    "plain.jpg",
    "progressive.jpg",
    "grey.jpg",
    "turned.jpg",
    "several.jpg",
    "after.jpg",
    "plain.png",
    "grey.png",
)


def one(folder, name, data):
    (folder / name).write_bytes(data)
    return FileList([name], np.zeros(1, dtype=np.int64), str(folder))


def test_dali_is_given_ordinary_jpeg_and_png_files_and_the_pixels_of_all_others():
    for kind in kinds():
        if kind.truth is None:
            assert ordinary_png(kind.data) is None
            continue
        given, size = for_dali(kind.data)
        assert size == kind.truth.shape[:2], kind.name
        assert isinstance(given, bytes) == (kind.name in ORDINARY), kind.name
        assert (given is kind.data) == (kind.name in ORDINARY[:6]), kind.name


def test_the_size_of_a_jpeg_is_read_from_its_segments_alone():
    start_of_frame = b"\xff\xc2\0\x11\x08\0\x15\0\x22\x03\1\x11\0\2\x11\0\3\x11\0"
    tables = b"\xff\xc4\0\x06abcd" + b"\xff\xff\xfe\0\x03c"  # DHT, fill byte, comment
    rest = b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" + b"pixels" + b"\xff\xd9"
    assert ordinary_jpeg(b"\xff\xd8" + tables + start_of_frame + rest) == (21, 34)
    assert ordinary_jpeg(b"\xff\xd8" + tables + start_of_frame + rest[:-2]) is None  # no end
    assert ordinary_jpeg(b"\xff\xd8" + tables + b"?" + start_of_frame + rest) is None  # junk
    assert ordinary_jpeg(b"\xff\xd8" + tables + rest) is None  # no frame
    assert ordinary_jpeg(b"\xff\xd8" + start_of_frame.replace(b"\xc2", b"\xc3", 1) + rest) is None  # lossless
    assert ordinary_jpeg(b"\xff\xd8" + start_of_frame.replace(b"\x08", b"\x0c", 1) + rest) is None  # 12 bits
    assert ordinary_jpeg(b"\xff\xd8" + start_of_frame * 2 + rest) == (21, 34)
    assert ordinary_jpeg(b"\xff\xd8" + start_of_frame + start_of_frame.replace(b"\x15", b"\x16") + rest) is None
    whole = jpegs()[0].data
    assert all(ordinary_jpeg(whole[:length]) is None for length in range(0, len(whole) - 2, 7))


@pytest.mark.parametrize("way", ["train", "policy", "eval"])
@pytest.mark.parametrize("kind", [k for k in kinds() if k.truth is None], ids=lambda kind: kind.name)
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path, kind, way):
    files = one(tmp_path, kind.name, kind.data)
    if way == "eval":
        batches = EvalLoader(files, size=8, resize=8, batch=1, **RAW).batches()
    else:
        augment = Augment(auto="randaugment" if way == "policy" else "none")
        batches = Loader(files, size=8, batch=1, augment=augment, seed=0, **RAW).batches(0, 1)
    with pytest.raises(DataError, match=rf"{kind.name}: unreadable image \(.+\); run `ssld data check`") as error:
        list(batches)
    assert "\n" not in str(error.value)
    assert "DALI could not" not in str(error.value)


def test_the_batches_before_an_unreadable_image_come_out_first(tmp_path):
    for number in range(6):
        Image.fromarray(smooth(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "4.png").write_bytes(b"no image")
    files = FileList([f"{number}.png" for number in range(6)], np.zeros(6, dtype=np.int64), str(tmp_path))
    batches = EvalLoader(files, size=8, resize=8, batch=1, **RAW).batches()
    assert [next(batches)["index"].tolist() for _ in range(4)] == [[0], [1], [2], [3]]
    with pytest.raises(DataError, match=r"4\.png: unreadable"):
        next(batches)


def test_dali_says_of_jpeg_data_whether_it_reads_them_again_and_again():
    whole = jpegs()[0].data
    cut = whole[: len(whole) // 2]
    wanted = {whole: True, cut: False}
    for data in (whole, cut, whole, cut, cut, whole):
        assert (refusal(data) is None) == wanted[data]
    assert "\n" not in refusal(cut)


def test_an_image_of_too_many_pixels_is_one_line_that_names_the_option(tmp_path, monkeypatch):
    image = Image.new("RGB", (300, 200))
    monkeypatch.setenv("SSLD_MAX_PIXELS", "59999")
    for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "PPM", "JPEG2000"):
        with pytest.raises(Unreadable, match=r"^300 x 200 pixels are more than 59,999 pixels; .* set SSLD_MAX_PIXELS"):
            for_dali(saved(image, kind))
        assert "SSLD_MAX_PIXELS" in readable.fault(saved(image, kind))
    with pytest.raises(DataError, match=r"a\.bmp: unreadable image \(300 x 200 pixels"):
        list(EvalLoader(one(tmp_path, "a.bmp", saved(image, "BMP")), size=8, resize=8, batch=1, **RAW).batches())
    monkeypatch.setenv("SSLD_MAX_PIXELS", "60000")
    assert readable.fault(saved(image, "BMP")) is None
    monkeypatch.delenv("SSLD_MAX_PIXELS")
    assert readable.most_pixels() == 2**28 // 3


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP", "PNG", "PPM"])
def test_an_image_beyond_the_bomb_limit_of_pillow_is_no_traceback(kind):
    """Files that say a size of 400 million pixels and more."""
    data = bytearray(saved(Image.new("RGB", (60, 40)), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "PNG":
        head = (20_000).to_bytes(4, "big") * 2 + bytes(data[24:29])
        data[8:33] = part(b"IHDR", head)
    elif kind == "BMP":
        data[18:26] = (20_000).to_bytes(4, "little") * 2
    elif kind == "PPM":
        data[:8] = b"P6\n20000 20000"
    elif kind == "TIFF":
        for tag in (256, 257):
            at = bytes(data).index(tag.to_bytes(2, "little"), 8)
            data[at : at + 12] = tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + (20_000).to_bytes(4, "little")
    else:
        data[21:25] = (16_383 - 1 | (16_383 - 1) << 14).to_bytes(4, "little")
    with pytest.raises(Unreadable, match=r"SSLD_MAX_PIXELS|no image that can be read"):
        for_dali(bytes(data))


def test_a_larger_limit_is_taken_where_pillow_would_stop(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = saved(Image.new("RGB", (30, 20)), "BMP")
    monkeypatch.setattr(readable, "LIMIT", 100)
    assert "more than 100 pixels" in readable.fault(data)
    monkeypatch.setenv("SSLD_MAX_PIXELS", "1000")
    assert readable.fault(data) is None


@pytest.mark.parametrize("text", ["-1", "many", "1e9", "0", "9" * 30])
def test_a_limit_that_is_no_number_is_told(monkeypatch, text):
    monkeypatch.setenv("SSLD_MAX_PIXELS", text)
    with pytest.raises(DataError, match=r"SSLD_MAX_PIXELS: '.*' is no number of pixels"):
        for_dali(pngs()[0].data)


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    (tmp_path / "empty.png").touch()
    said = {"pipe.png": "no regular file", "link.png": "a dangling link", "empty.png": "the file is empty"}
    for name, reason in {**said, "": "a folder", "gone.png": "no such file", "nul\0.png": "embedded null byte"}.items():
        with pytest.raises(Unreadable, match=reason):
            content(str(tmp_path / name) if name else str(tmp_path))


def damaged(rng, data: bytes) -> bytes:
    """One to five random changes: bits, bytes, pieces taken out, put in or swapped, the end cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at, many = int(rng.integers(len(changed))), int(rng.integers(1, 40))
        match int(rng.integers(6)):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                changed[at] = int(rng.integers(256))
            case 2:
                del changed[at : at + many]
            case 3:
                changed[at:at] = rng.bytes(many)
            case 4:
                changed[at : at + many] = bytes(len(changed[at : at + many]))
            case _:
                del changed[max(1, at) :]
        if not changed:
            return b"?"
    return bytes(changed)


def with_right_checksums(data: bytes) -> bytes:
    """A damaged PNG file whose parts, as far as they can be told apart, have the checksums of their bytes."""
    at, out = 8, data[:8]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        out += part(data[at + 4 : at + 8], data[at + 8 : end - 4])
        at = end
    return out + data[at:]


def refused(data: bytes) -> str:
    """Why bytes are no image; empty where they are one."""
    try:
        given, size = for_dali(data)
    except Unreadable as error:
        return str(error)
    assert isinstance(given, bytes) or given.shape[:2] == size
    return ""


def test_random_bytes_are_an_image_or_one_line_and_never_another_exception():
    """Every kind of file, 40 times damaged, half of the PNG files with checksums set right again."""
    rng, said = np.random.default_rng(0), set()
    for kind in kinds():
        for number in range(40 if kind.data else 0):
            data = damaged(rng, kind.data)
            said.add(refused(with_right_checksums(data) if kind.name.endswith(".png") and number % 2 else data))
    assert len(said) > 10
    assert all("\n" not in reason and len(reason) < 200 for reason in said)


def test_damaged_files_never_end_the_process_that_trains(tmp_path):
    """In a process of its own, as a decoder of DALI that crashes takes it along: 300 damaged PNG and JPEG files."""
    rng = np.random.default_rng(1)
    plain = [k for k in (*jpegs(), *pngs()) if k.name in ORDINARY]
    for number in range(300):
        kind = plain[number % len(plain)]
        data = damaged(rng, kind.data)
        if kind.name.endswith(".png") and number % 3:
            data = with_right_checksums(data)
        (tmp_path / f"{number}.img").write_bytes(data)
    program = """
        import sys
        import numpy as np
        from ssld.data import EvalLoader, FileList
        from ssld.errors import DataError
        folder, seen, refused = sys.argv[1], 0, 0
        for number in range(300):
            files = FileList([f"{number}.img"], np.zeros(1, "int64"), folder)
            if not number:
                loader = EvalLoader(files, size=8, resize=8, batch=1, mean=(0, 0, 0), std=(1, 1, 1))
            loader._stream._feed._source = files
            try:
                seen += len(list(loader.batches()))
            except DataError as error:
                assert f"{number}.img: unreadable image" in str(error), error
                refused += 1
        print(seen, refused)
    """
    run = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    seen, refused = map(int, done.stdout.split()[-2:])
    assert seen + refused == 300
    assert min(seen, refused) > 20


def test_transparent_pixels_show_the_background_in_every_loader(tmp_path):
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[..., 3] = np.arange(64).reshape(8, 8) * 4
    files = one(tmp_path, "a.png", saved(Image.fromarray(rgba, "RGBA"), "PNG"))
    alpha = rgba[..., 3:].astype(int)
    for colour in ((255, 255, 255), (10, 200, 90)):
        wanted = (np.array(colour) * (255 - alpha) + 127) // 255
        look = {"size": 8, "batch": 1, "background": colour, **RAW}
        train = Loader(files, augment=Augment(area=(1, 1), flip=0), seed=0, **look).batches(0, 1)
        for batches in (train, EvalLoader(files, resize=8, **look).batches()):
            assert np.array_equal(next(iter(batches))["image"].numpy()[0].transpose(1, 2, 0), wanted)
        assert np.array_equal(np.asarray(examine(files.path(0), colour).image), wanted)


def test_colours_have_several_spellings_and_others_are_refused():
    assert colour_of("white") == colour_of("#ffffff") == colour_of([255, 255, 255]) == (255, 255, 255)
    assert colour_of("#0a141e") == (10, 20, 30)
    for bad in ("wite", "#12", [0, 0], [0, 0, 256], [0.5, 0, 0], [True, 0, 0], None, 7, "#01020304"):
        with pytest.raises(ValueError, match="is no colour; give three whole numbers"):
            colour_of(bad)


def test_pictures_of_pillow_and_of_the_readers_are_told_apart_from_flat_ones():
    assert decode(saved(Image.new("1", (5, 5), 1), "PNG")).flat
    assert not decode(saved(Image.fromarray(smooth(1)), "PNG")).flat
    assert decode(io.BytesIO(saved(Image.new("RGBA", (5, 5), (9, 9, 9, 0)), "PNG")).getvalue()).transparent
