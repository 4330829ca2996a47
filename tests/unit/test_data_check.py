"""`ssld data check` finds what training could not read."""

import os

import numpy as np
import pytest
from PIL import Image

from ssld.data import FileList, check
from ssld.data.header import image_size


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
    assert "cannot identify" in reasons["text.png"]
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["g.gif"] == "GIF is not read by DALI"
    assert reasons["missing.jpg"] == "no such file"
    assert all("\n" not in reason for reason in reasons.values())
    assert "IDAT" in reasons["checksum.png"]
    assert len(check(FileList(names, np.zeros(8), str(folder)), keep=2).bad) == 2


def test_the_size_is_read_from_the_header_alone(folder):
    for name in os.listdir(folder):
        assert image_size((folder / name).read_bytes()) == (21, 34), name
    start_of_frame = b"\xff\xc2\0\x11\x08\0\x15\0\x22\x03" + bytes(9)
    tables = b"\xff\xc4\0\x06abcd" + b"\xff\xcc\0\x04ab" + b"\xff\xff\xfe\0\x03c"  # DHT, DAC, fill byte, comment
    assert image_size(b"\xff\xd8" + tables + start_of_frame) == (21, 34)
    head = (folder / "a.jpg").read_bytes()
    for length in (0, 3, 20, 100):
        with pytest.raises((ValueError, OSError)):
            image_size(head[:length])
