"""These tests read hostile or damaged archives of 1.x: each is refused, by the entry's name, before it fills memory."""

import os
import tarfile
from contextlib import suppress

import pytest

from ssld import models, weights
from ssld.errors import WeightsError
from ssld.weights import lodtensor
from tests.unit import tiny_zoo
from tests.unit.weights_files import entries, published, random_state, write, write_folder, write_tar

STEM, FC = "tiny/stem/weights", "fc_0.w_0"


@pytest.fixture(autouse=True)
def zoo(monkeypatch):
    tiny_zoo.zoo(monkeypatch)


@pytest.fixture
def files():
    return entries(published("Tiny1", random_state("Tiny1"), "static"), top="net/")


def info(name, kind=tarfile.REGTYPE, size=0, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, target
    return made


def refused(path):
    with pytest.raises(WeightsError) as caught:
        weights.load_into(models.create("Tiny1", num_classes=10), path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


HOSTILE = [
    (info("net/a", tarfile.SYMTYPE, target="/etc/passwd"), "net/a is a symbolic link"),
    (info("net/a", tarfile.LNKTYPE, target="net/fc_0.w_0"), "net/a is a hard link"),
    (info("net/a", tarfile.CHRTYPE), "net/a is a device"),
    (info("net/a", tarfile.BLKTYPE), "net/a is a device"),
    (info("net/a", tarfile.FIFOTYPE), "net/a is a device"),
    (info("net/a", b"Z"), "net/a is of an unknown kind"),
    (info("net/../../a"), "net/../../a is a path out of the archive"),
    (info("../a"), "../a is a path out of the archive"),
    (info("/etc/a"), "/etc/a is a path out of the archive"),
    (info("net/a\n\x1b[2Jb", tarfile.SYMTYPE), r"net/a\n\x1b[2Jb is a symbolic link"),
    (info("./net//fc_0.w_0"), "./net//fc_0.w_0 is there twice"),
    (info("net/a", size=lodtensor.LARGEST + 1), "net/a is 2,147,483,649 bytes, weights have at most 2,147,483,648"),
]


@pytest.mark.parametrize(("entry", "message"), HOSTILE, ids=lambda value: value if isinstance(value, str) else "")
def test_a_hostile_entry_is_named_before_a_variable_is_looked_at(files, entry, message, tmp_path, monkeypatch):
    def looked_at(part):
        raise AssertionError(part)

    path = tmp_path / "net.tar"
    with path.open("wb") as file:
        write_tar(tmp_path / "plain.tar", files)
        file.write((tmp_path / "plain.tar").read_bytes().rstrip(b"\0"))
        file.write(bytes(-file.tell() % 512) + entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    monkeypatch.setattr(lodtensor, "_variable", looked_at)
    assert f"{path}: {message}" in refused(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_would_fill_the_memory_is_not_read(kind, tmp_path):
    path = tmp_path / "net.tar"
    with path.open("wb") as file:
        file.write(info("net/a", kind, size=3 << 30).tobuf())
        file.truncate(4 << 30)  # of holes
    assert "net.tar: cannot be read (a header of 3,221,225,472 bytes); check it" in refused(path)


def test_a_sparse_file_is_refused(files, tmp_path):
    sparse = info("net/a", tarfile.GNUTYPE_SPARSE)
    path = write_tar(tmp_path / "net.tar", {sparse: b"", **files})
    assert "net/a is a sparse file" in refused(path)


def test_a_number_of_entries_that_no_network_has_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.setattr(lodtensor, "MOST", 5)
    assert "is more than the 5 entries that weights may have" in refused(write_tar(tmp_path / "net.tar", files))


def test_a_compressed_archive_is_no_plain_one(files, tmp_path):
    with tarfile.open(tmp_path / "net.tar", "w:gz"):
        pass
    assert "net.tar: truncated or damaged after its beginning" in refused(tmp_path / "net.tar")


def test_links_and_devices_of_a_folder_are_refused(files, tmp_path):
    (write_folder(tmp_path, files) / "net" / "more").symlink_to(tmp_path)
    assert "net: more is a link; remove it" in refused(tmp_path / "net")
    (tmp_path / "net" / "more").unlink()
    os.mkfifo(tmp_path / "net" / "more")
    assert "net: more is no plain file; remove it" in refused(tmp_path / "net")


def test_a_file_of_a_folder_that_is_too_large_is_refused(files, tmp_path):
    with (write_folder(tmp_path, files) / "net" / "more").open("wb") as file:
        file.truncate(lodtensor.LARGEST + 1)  # of holes
    assert "net: more is 2,147,483,649 bytes" in refused(tmp_path / "net")


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_folder_of_something_else_holds_no_variable(tmp_path, kind):
    files = {"net/plan.yaml": b"seed: 1\n"}
    path = write_tar(tmp_path / "net.tar", files) if kind == "tar" else write_folder(tmp_path, files) / "net"
    assert refused(path).startswith(f"{path}: holds no variable of PaddleClas 1.x; give")


# --- damage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "it ends within its header"),
        (lambda content: content[:3], "it ends within its header"),
        (lambda content: content[:25], "it ends within its header"),
        (lambda content: content[:-1], "truncated or damaged: 431 bytes for [4, 3, 3, 3] of float32"),
        (lambda content: content + b"\0", "truncated or damaged: 433 bytes for [4, 3, 3, 3] of float32"),
        (lambda content: b"\1" + content[1:], "it is no LoDTensor"),
        (lambda content: content[:4] + b"\xff" * 8 + content[12:], "it is no LoDTensor"),
        (lambda content: content[:4] + b"\1" + bytes(7) + b"\xff" * 8 + content[12:], "it ends within its header"),
        (lambda content: content[:12] + b"\1" + content[13:], "it is no LoDTensor"),
        (lambda content: content[:16] + b"\xff\xff\xff\x7f" + content[20:], "it ends within its header"),
        (lambda content: content[:21] + b"\x16" + content[22:], "its numbers are of type 22, which is not read here"),
        (lambda content: content[:22] + b"\x1a" + content[23:], "its description holds more than a type and a shape"),
        (lambda content: content[:29] + b"\x83" + content[30:], "its description ends within a number"),
        (lambda content: content[:23] + b"\x05" + content[24:], "432 bytes for [5, 3, 3, 3] of float32"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_damaged_variable_is_named(files, tmp_path, kind, change, message):
    files[f"net/{STEM}"] = change(files[f"net/{STEM}"])
    path = write_tar(tmp_path / "net.tar", files) if kind == "tar" else write_folder(tmp_path, files) / "net"
    line = refused(path)
    assert line.startswith(f"{path}: 1 of 8 variables cannot be read: {STEM}: ")
    assert message in line
    assert line.endswith("; download it again")


@pytest.mark.parametrize("keep", [0, 100, 512, 700, 1500, 5000, -1024])
def test_a_truncated_archive_says_where_it_ends(files, tmp_path, keep):
    path = write_tar(tmp_path / "net.tar", files)
    with tarfile.open(path) as tar:
        ends = {member.name: member.offset + 512 for member in tar}
    size = max(ends.values()) + 512 if keep < 0 else keep  # this block holds all of fc_0.b_0
    path.write_bytes(path.read_bytes()[:size])
    last = [name for name, end in ends.items() if end <= size] or ["its beginning"]
    assert refused(path).startswith(f"{path}: truncated or damaged after {last[-1]} (")


def test_a_damaged_header_says_after_which_entry(files, tmp_path):
    path = write_tar(tmp_path / "net.tar", files)
    content = bytearray(path.read_bytes())
    at = content.index(f"net/{FC}".encode())
    content[at] ^= 1
    path.write_bytes(content)
    names = list(files)
    before = names[names.index(f"net/{FC}") - 1]
    assert f"net.tar: truncated or damaged after {before} (" in refused(path)


def test_an_array_that_shrinks_while_it_is_read_is_named(files, tmp_path):
    path = write_tar(tmp_path / "net.tar", files)
    stored = lodtensor.listing(path)[0][FC]
    path.write_bytes(path.read_bytes()[: stored.offset])
    with pytest.raises(WeightsError, match="changed while it was read"):
        stored.read()


@pytest.mark.parametrize("at", range(0, 2600, 37))
def test_no_flipped_byte_is_more_than_an_error_or_another_number(files, tmp_path, at):
    path = write("tar", tmp_path, "Tiny1", random_state("Tiny1"))
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    network = models.create("Tiny1", num_classes=10)
    with suppress(WeightsError):
        weights.load_into(network, path)
