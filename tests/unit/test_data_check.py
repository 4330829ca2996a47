"""`ssld data check` finds what training could not read."""

import os

import numpy as np
import pytest
from PIL import Image

from ssld.data import FileList, check


@pytest.fixture
def folder(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (21, 34, 3), dtype=np.uint8))
    for name in ("a.jpg", "b.png", "c.webp", "d.bmp", "e.tiff", "f.ppm"):
        picture.save(tmp_path / name)
    picture.save(tmp_path / "progressive.jpg", progressive=True, exif=b"Exif\0\0" + b"x" * 500)
    return tmp_path


def test_good_images_of_every_format_pass_and_progress_is_told(folder):
    names, ticks = sorted(os.listdir(folder)), []
    report = check(FileList(names, np.zeros(7), str(folder)), threads=2, progress=lambda *tick: ticks.append(tick))
    assert (report.images, report.bad) == (7, [])
    assert ticks == [(7, 7)]
    assert report


def test_every_unreadable_image_is_named_with_its_reason(folder):
    good = (folder / "a.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(good[:-40])
    (folder / "text.png").write_bytes(b"hello")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (9, 9)).save(folder / "g.gif")
    bits = bytearray((folder / "b.png").read_bytes())
    bits[60] ^= 255
    (folder / "bits.png").write_bytes(bits)
    bits[60] ^= 255
    bits[bits.rindex(b"IEND") - 8] ^= 1  # the checksum of the pixels alone: Pillow would load them, DALI does not
    (folder / "checksum.png").write_bytes(bits)
    names = ["a.jpg", "cut.jpg", "text.png", "empty.png", "g.gif", "bits.png", "checksum.png", "missing.jpg"]
    report = check(FileList(names, np.zeros(8), str(folder)))
    assert not report
    reasons = {os.path.basename(path): reason for path, reason in report.bad}
    assert list(reasons) == names[1:]
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["text.png"] == "no image that can be read: damaged, or of an unknown kind"
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["g.gif"] == "GIF is not read; save it as PNG or JPEG"
    assert reasons["missing.jpg"] == "no such file"
    assert all("\n" not in reason for reason in reasons.values())
    assert "checksum" in reasons["checksum.png"]
    assert len(check(FileList(names, np.zeros(8), str(folder)), keep=2).bad) == 2


def test_flat_images_and_images_with_transparency_are_counted(tmp_path):
    shape = np.zeros((9, 9, 4), dtype=np.uint8)
    shape[3:6, 3:6, 3] = 255  # a black square, and black that nobody sees around it
    Image.fromarray(shape).save(tmp_path / "black.png")
    shape[..., :3] = 255
    Image.fromarray(shape).save(tmp_path / "white.png")
    Image.new("RGB", (5, 5), (1, 2, 3)).save(tmp_path / "flat.jpg")
    Image.new("L", (5, 5), 7).save(tmp_path / "grey.png")
    Image.new("RGBA", (5, 5), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    Image.effect_noise((9, 9), 99).save(tmp_path / "noise.png")
    names = sorted(os.listdir(tmp_path))
    files = FileList(names, np.zeros(len(names)), str(tmp_path))
    report = check(files, threads=2)
    flat = ["flat.jpg", "grey.png", "opaque.png", "white.png"]
    assert (report.transparent, report.flat_images) == (2, 4)
    assert [os.path.basename(path) for path in report.flat] == flat
    assert report  # neither is a fault
    on_black = check(files, background=(0, 0, 0), keep=1)
    assert [os.path.basename(path) for path in on_black.flat] == ["black.png"]
    assert on_black.flat_images == 4
