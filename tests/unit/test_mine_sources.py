"""These tests read pools from folders, lists and tars, none of which may lead out of itself."""

import io
import os
import tarfile

import pytest

from ssld.errors import DataError
from ssld.mine import sources
from ssld.mine.sources import shards
from tests.unit.mine_place import plain, png, write_tar

RED = png(plain(0, 200))


def names(*paths):
    return [item.name for shard in shards(paths) for item in shard.items()]


def faults(*paths):
    return {item.name: item.fault for shard in shards(paths) for item in shard.items() if item.fault}


def folder(tmp_path, *files):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(RED)
    return tmp_path


def test_a_folder_gives_every_image_under_it_but_hidden_ones(tmp_path):
    root = folder(tmp_path, "b.png", "sub/a.JPG", "note.txt", ".hidden.png", ".git/c.png")
    assert names(root) == [str(root / "b.png"), str(root / "sub/a.JPG")]


def test_a_list_gives_its_images_in_order_from_its_own_folder(tmp_path):
    root = folder(tmp_path / "pool", "x y.png", "a.png")
    (root / "list.txt").write_text("x y.png 3\na.png\n")
    assert names(root / "list.txt") == [str(root / "x y.png"), str(root / "a.png")]


def test_a_tar_gives_its_images_and_reads_each_where_it_lies(tmp_path):
    write_tar(tmp_path / "0.tar", {"0.png": RED, "0.cls": b"7", "s/1.jpg": b"other bytes", "0.json": b"{}"})
    (shard,) = shards([tmp_path / "0.tar"])
    items = shard.items()
    assert [item.name for item in items] == [f"{tmp_path}/0.tar:0.png", f"{tmp_path}/0.tar:s/1.jpg"]
    assert [item.read() for item in items] == [RED, b"other bytes"]


def test_a_folder_of_tars_and_images_gives_both(tmp_path):
    folder(tmp_path, "a.png")
    write_tar(tmp_path / "0.tar", {"0.png": RED})
    assert sorted(names(tmp_path)) == sorted([str(tmp_path / "a.png"), f"{tmp_path}/0.tar:0.png"])


def test_the_order_of_the_sources_does_not_matter_and_one_given_twice_counts_once(tmp_path):
    one, two = folder(tmp_path / "1", "a.png"), folder(tmp_path / "2", "b.png")
    assert names(one, two) == names(two, one, two)


def test_a_large_folder_is_cut_into_shards_that_are_named_by_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SHARD", 2)
    root = folder(tmp_path, "a.png", "b.png", "c.png")
    before = shards([root])
    assert [len(shard.files) for shard in before] == [2, 1]
    folder(tmp_path, "d.png")
    after = shards([root])
    assert [x.identity == y.identity for x, y in zip(before, after, strict=True)] == [True, False]


def test_a_link_that_leads_out_of_a_folder_is_not_read(tmp_path):
    root = folder(tmp_path / "pool", "a.png")
    outside = folder(tmp_path / "outside", "secret.png")
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "within.png").symlink_to(root / "a.png")
    (root / "sub").symlink_to(outside)
    assert faults(root) == {
        str(root / "out.png"): "a link that leads out of the source",
        str(root / "sub"): "a link to a folder is not followed",
    }


def test_a_name_that_no_list_can_hold_is_left_out_with_its_reason(tmp_path):
    root = folder(tmp_path, "a.png", "two\nlines.png")
    assert faults(root) == {str(root / "two\nlines.png"): "a list file cannot hold this name"}


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "../notes.txt"])
def test_a_tar_with_a_member_that_leads_out_is_refused(tmp_path, name):
    write_tar(tmp_path / "bad.tar", {"good.png": RED, name: RED})
    with pytest.raises(DataError, match="leads out of the tar; do not trust this file"):
        names(tmp_path / "bad.tar")


def test_a_link_within_a_tar_is_not_read(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("a.png")
        info.size = len(RED)
        archive.addfile(info, io.BytesIO(RED))
    assert faults(tmp_path / "0.tar") == {f"{tmp_path}/0.tar:link.png": "a link or another special member of a tar"}
    assert len(names(tmp_path / "0.tar")) == 2


def test_a_tar_that_ends_early_is_an_error_that_names_it(tmp_path):
    write_tar(tmp_path / "0.tar", {"0.png": RED * 50, "1.png": RED * 50})
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: len(RED) * 20])
    with pytest.raises(DataError, match=r"0\.tar: damaged or not a tar \(.*\); fetch it again"):
        names(tmp_path / "0.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path, kind):
    header = tarfile.TarInfo("a.png")
    header.type, header.size = kind, 3 << 30
    with (tmp_path / "0.tar").open("wb") as file:
        file.write(header.tobuf())
        file.truncate(4 << 30)  # of holes
    with pytest.raises(DataError, match=r"0\.tar: damaged or not a tar \(.*a header of 3,221,225,472 bytes.*\)"):
        names(tmp_path / "0.tar")


def test_a_pipe_with_the_name_of_a_tar_is_an_error_and_nothing_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "0.tar")
    with pytest.raises(DataError, match=r"0\.tar: damaged or not a tar \(.*no regular file.*\)"):
        names(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: no such folder, list file or .tar; check the path"),
        ("pool.tar.gz", "pool.tar.gz: a compressed tar cannot be read at any place; unpack it to a .tar"),
        ("empty", "empty: no image and no .tar in it; give the folder of the images"),
    ],
)
def test_a_source_that_gives_nothing_is_an_error(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as error:
        shards([tmp_path / name])
    assert str(error.value) == f"{tmp_path}/{message}"
