"""These tests download from a real server on this machine: the whole expected file comes, or nothing."""

import errno
import hashlib
import json
import pickle
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from ssld import weights
from ssld.config import cards
from ssld.errors import RecipeError, WeightsError
from ssld.paths import shelf
from ssld.weights import download, first_checksums
from ssld.weights.download import Published
from tests.campaign.damage import WAYS, damage
from tests.unit.file_server import serving

NAME = "Net_pretrained.pdparams"


def content(size, first=0):
    """A file of weights of so many bytes."""
    rest = size - len(pickle.dumps({"w": np.zeros(size - 1000, "u1")}, 4)) + size - 1000
    file = pickle.dumps({"w": np.arange(first, first + rest).astype("u1")}, 4)
    assert len(file) == size
    return file


CONTENT = content(3_072_000)  # 3 MB are several blocks
OTHER = content(3_072_000, first=7)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    with serving() as made:
        made.files[f"/dygraph/{NAME}"] = CONTENT
        yield made


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def fetch(server, folder, sha256=None, path=f"/dygraph/{NAME}", **options):
    return weights.fetch(Published("Net", server.url(path), sha256), folder, folder / "pins.yaml", **options)


def fails(server, folder, *arguments, **options):
    with pytest.raises(WeightsError) as caught:
        fetch(server, folder, *arguments, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / NAME).exists()
    return str(caught.value)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def ranges(server):
    return [requested_range for _, requested_range in server.asked]


def left(server, folder, have):
    """Leave so many bytes of an earlier download."""
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(CONTENT[:have])
    known = {"url": server.url(f"/dygraph/{NAME}"), "etag": '"1"', "modified": None, "bytes": len(CONTENT)}
    (folder / f"{NAME}.part.json").write_text(json.dumps(known))


def test_a_whole_download_is_pinned(server, folder):
    result = fetch(server, folder)
    url = server.url(f"/dygraph/{NAME}")
    assert result == {
        "file": str(folder / NAME),
        "status": "downloaded",
        "url": url,
        "sha256": sha256(CONTENT),
        "bytes": len(CONTENT),
    }
    assert (folder / NAME).read_bytes() == CONTENT
    pin = yaml.safe_load((folder / "pins.yaml").read_text())[url]
    assert (pin["sha256"], pin["bytes"]) == (sha256(CONTENT), len(CONTENT))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", pin["date"])
    assert names(folder) == [NAME, "pins.yaml"]


def test_a_second_fetch_asks_nobody(server, folder):
    first = fetch(server, folder)
    assert fetch(server, folder) == {**first, "status": "already there"}
    assert len(server.asked) == 1


# --- connections that are cut


def test_a_cut_connection_goes_on_where_it_ended(server, folder, capsys):
    server.cuts = [1_000_000, 1_500_000]
    fetch(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000000-", "bytes=2500000-"]
    assert "cut after 1,000,000 of 3,072,000 bytes; goes on at byte 1,000,000 in 0 s" in capsys.readouterr().err


def test_after_a_few_cuts_it_ends_and_the_same_command_goes_on(server, folder):
    server.cuts = [100_000] * download.TRIES
    line = fails(server, folder)
    assert line.endswith("cut after 500,000 of 3,072,000 bytes; 500,000 bytes are kept: the same command goes on there")
    assert not (folder / "pins.yaml").exists()
    server.asked.clear()
    fetch(server, folder)
    assert (ranges(server), (folder / NAME).read_bytes() == CONTENT) == (["bytes=500000-"], True)


def test_a_server_without_a_size_may_cut_too(server, folder):
    server.sized = False
    fetch(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_begins_anew(server, folder, capsys):
    server.cuts, server.ranges = [1_000_000], False
    fetch(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000000-"]
    assert "the server cannot go on within a file; starting over" in capsys.readouterr().err


@pytest.mark.parametrize("tag", ["etag", "modified"])
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_file_that_changed_meanwhile_begins_anew(server, folder, capsys, tag, knows_ranges):
    server.cuts, server.ranges = [1_000_000] * download.TRIES, True
    setattr(server, tag, "before")
    server.cuts = [1_000_000] + [0] * (download.TRIES - 1)
    fails(server, folder)
    server.files[f"/dygraph/{NAME}"] = other = OTHER
    setattr(server, tag, "after")
    server.ranges = knows_ranges
    fetch(server, folder)
    assert (folder / NAME).read_bytes() == other
    assert "the file changed since; starting over" in capsys.readouterr().err


@pytest.mark.parametrize("size", [2_000_000, 900_000, 1_000_000])
def test_so_does_one_that_is_shorter_now(server, folder, size, capsys):
    server.etag = None
    server.cuts = [1_000_000] + [0] * (download.TRIES - 1)
    fails(server, folder)
    server.files[f"/dygraph/{NAME}"] = other = content(size, first=7)
    fetch(server, folder)
    assert (folder / NAME).read_bytes() == other
    assert "the file changed since; starting over" in capsys.readouterr().err


@pytest.mark.parametrize("have", [1_000_000, len(CONTENT)])
def test_what_another_address_left_is_not_gone_on_with(server, folder, have):
    server.files[f"/legendary/{NAME}"] = OTHER
    left(server, folder, have)
    fetch(server, folder, path=f"/legendary/{NAME}")
    assert (folder / NAME).read_bytes() == OTHER


def test_a_part_that_nothing_is_known_of_begins_anew(server, folder):
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(b"rubbish")
    fetch(server, folder)
    assert (folder / NAME).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for_again(server, folder):
    left(server, folder, len(CONTENT))
    assert fetch(server, folder)["sha256"] == sha256(CONTENT)
    assert server.asked == []


def test_a_server_in_trouble_is_asked_again(server, folder):
    server.broken = [503, 429, 500]
    fetch(server, folder)
    assert len(server.asked) == 4


def test_an_address_that_is_gone_is_not_asked_again(server, folder):
    line = fails(server, folder, path="/nothing.pdparams")
    assert line.startswith(server.url("/nothing.pdparams"))
    assert line.endswith(": the server says 404 Not Found; check the card's address, or give --mirror")
    assert len(server.asked) == 1
    assert names(folder) == []


def test_no_server_is_one_line(server, folder):
    server.server_close()
    line = fails(server, folder)
    assert "no connection (" in line
    assert "0 bytes are kept" in line


# --- the file has to be the one


def test_a_pin_of_the_first_time_refuses_another_file(server, folder):
    fetch(server, folder)
    (folder / NAME).unlink()
    server.files[f"/dygraph/{NAME}"] = other = OTHER
    before = (folder / "pins.yaml").read_text()
    line = fails(server, folder)
    assert line.startswith(
        f"{folder / NAME}: sha256 {sha256(other)} is not {sha256(CONTENT)} of {folder / 'pins.yaml'}"
    )
    assert (folder / f"{NAME}.rejected").read_bytes() == other
    assert names(folder) == [f"{NAME}.rejected", "pins.yaml"]
    assert (folder / "pins.yaml").read_text() == before
    server.files[f"/dygraph/{NAME}"] = CONTENT
    assert fetch(server, folder)["status"] == "downloaded"


def test_the_sha256_of_a_card_wins_over_a_pin(server, folder):
    url = server.url(f"/dygraph/{NAME}")
    first_checksums.add(folder / "pins.yaml", url, "0" * 64, 1)
    assert fetch(server, folder, sha256(CONTENT))["sha256"] == sha256(CONTENT)
    (folder / NAME).unlink()
    assert f"is not {'1' * 64} of its card: refused and kept as {NAME}.rejected" in fails(server, folder, "1" * 64)


def test_a_file_that_was_put_there_by_hand_is_held_to_the_pin_too(server, folder):
    fetch(server, folder)
    (folder / NAME).write_bytes(b"damaged since")
    assert "refused and kept as" in fails(server, folder, offline=True)
    assert (folder / f"{NAME}.rejected").read_bytes() == b"damaged since"


@pytest.mark.parametrize("way", [way for way in WAYS if "folder" not in way])
def test_a_file_that_was_damaged_on_the_shelf_is_not_read_and_the_advice_brings_it_back(way, server, folder, capsys):
    fetch(server, folder)
    if not damage(folder / NAME, way):
        return
    if (folder / NAME).is_file():
        with pytest.raises(WeightsError, match=r"it is not what was fetched.* remove it, and fetch or import it"):
            weights.load(folder / NAME)
    said = "" if not (folder / NAME).is_file() else f"kept as {NAME}.rejected; it is fetched again"
    assert fetch(server, folder)["status"] == "downloaded"
    assert said in capsys.readouterr().err
    assert (folder / NAME).read_bytes() == CONTENT


def test_two_addresses_of_one_file_name_are_kept_apart(server, folder, tmp_path):
    """develop and 2.0 have published different files under the same name."""
    server.files[f"/legendary/{NAME}"] = OTHER
    fetch(server, folder)
    url, other = server.url(f"/dygraph/{NAME}"), server.url(f"/legendary/{NAME}")
    line = f"{folder / NAME}: is the file of {url}; give another --out for {other}"
    with pytest.raises(WeightsError, match=re.escape(line)):
        fetch(server, folder, path=f"/legendary/{NAME}")
    assert (folder / NAME).read_bytes() == CONTENT
    published = Published("Net", other)
    result = weights.fetch(published, tmp_path / "other", folder / "pins.yaml")
    assert result["sha256"] == sha256(OTHER)
    assert set(first_checksums.read(folder / "pins.yaml")) == {url, other}


@pytest.mark.parametrize("text", ["[1", "- a", "'http://x': 3", "'http://x': {sha256: 3}"])
def test_pins_that_do_not_hold_are_named_and_stay(server, folder, text):
    folder.mkdir()
    (folder / "pins.yaml").write_text(text)
    assert f"{folder / 'pins.yaml'}: " in fails(server, folder)
    assert server.asked == []
    assert (folder / "pins.yaml").read_text() == text


# --- without a network


def test_offline_uses_what_is_there(server, folder):
    fetch(server, folder)
    server.asked.clear()
    assert fetch(server, folder, offline=True)["status"] == "already there"
    assert server.asked == []


def test_offline_says_what_is_missing_and_which_command_gets_it(server, folder):
    line = fails(server, folder, offline=True)
    assert line.startswith(
        f"{folder / NAME}: is not there, and offline nothing is downloaded; `ssld weights fetch Net`"
    )
    assert server.asked == []


def test_a_mirror_is_a_folder_of_the_published_files(server, folder, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / NAME).write_bytes(CONTENT)
    result = fetch(server, folder, mirror=str(tmp_path / "mirror"), offline=True)
    assert (result["status"], (folder / NAME).read_bytes() == CONTENT) == ("copied", True)
    assert server.asked == []
    # It does not matter who the file came from.
    assert list(first_checksums.read(folder / "pins.yaml")) == [server.url(f"/dygraph/{NAME}")]


def test_or_a_base_address(server, folder):
    server.files[f"/mine/{NAME}"] = CONTENT
    for slash in ("", "/"):
        fetch(server, folder, mirror=server.url(f"/mine{slash}"))
        (folder / NAME).unlink()
    assert [path for path, _ in server.asked] == [f"/mine/{NAME}"] * 2
    assert "offline nothing is downloaded" in fails(server, folder, mirror=server.url("/mine"), offline=True)


def test_a_mirror_is_held_to_the_pin(server, folder, tmp_path):
    fetch(server, folder)
    (folder / NAME).unlink()
    (tmp_path / NAME).write_bytes(b"something else")
    assert "refused and kept as" in fails(server, folder, mirror=str(tmp_path))


def test_a_mirror_without_the_file_is_named(server, folder, tmp_path):
    line = fails(server, folder, mirror=str(tmp_path))
    assert line == f"{tmp_path / NAME}: the mirror has no such file; put it there or leave the mirror out"
    assert server.asked == []


# --- a server that means no good

HOSTILE = {  # what a server sends: the only words of the error that depend on it
    b"HTTP/1.1 200 OK\r\n\r\n": "no weights, refused and kept as",  # nothing
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": "no weights, refused and kept as",
    b"HTTP/1.1 200 OK\r\n\r\n<html>log in</html>": "no weights, refused and kept as",
    b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT[:-1]: "no weights, refused and kept as",  # it ended early, of no stated size
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nx": "the server sends it compressed (gzip); give --mirror",
    b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-6/7\r\n\r\nab": "the server says 206 and sends no whole file",
    b"HTTP/1.1 204 No\r\n\r\n": "the server says 204 and sends no whole file",
    b"HTTP/1.1 300 Many\r\n\r\n": "the server says 300 Many; check the card's address",
    b"HTTP/1.1 404 \x1b[31mNo\r\n\r\n": "the server says 404",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx": "no weights, refused and kept as",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx": "more than 17,179,869,184 bytes, which no weights have",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx": "no weights, refused and kept as",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n": "no connection (got more than 100 headers)",
    b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n": "no connection (got more than 65536 bytes",
    b"HTTP/1.1 ABC\r\n\r\n": "no connection (",
    b"\0\0\0": "no connection (",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc": "cut after",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc": "cut after",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"F" * 9000 + b"\r\nabc": "cut after",
    b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\n\r\n": "is redirected to file, which is not as safe",
    b"HTTP/1.1 302 F\r\nLocation: ftp://h/x\r\n\r\n": "is redirected to ftp, which is not as safe",
    b"HTTP/1.1 302 F\r\nLocation: http://[\r\n\r\n": "is redirected to what is no address",
    b"HTTP/1.1 302 F\r\nLocation: http://h:x/\r\n\r\n": "is no address (",
    b"HTTP/1.1 302 F\r\nLocation: http://h/\xff\r\n\r\n": "is no address (",
    b"HTTP/1.1 302 F\r\n\r\n": "is redirected more than 5 times",
    b"HTTP/1.1 302 F\r\nLocation: /dygraph/" + NAME.encode() + b"\r\n\r\n": "is redirected more than 5 times",
}


@pytest.mark.parametrize("sent", HOSTILE, ids=lambda sent: repr(sent[:60]))
def test_what_no_honest_server_sends_is_one_line_and_is_not_pinned(server, folder, sent):
    server.raw[f"/dygraph/{NAME}"] = sent
    assert HOSTILE[sent] in fails(server, folder)
    assert not (folder / "pins.yaml").exists()
    del server.raw[f"/dygraph/{NAME}"]
    assert fetch(server, folder)["sha256"] == sha256(CONTENT)


@pytest.mark.parametrize(
    ("address", "location", "target"),
    [
        ("https://a/x", "https://b/y", "https://b/y"),
        ("https://a/x", "/y", "https://a/y"),
        ("https://a/x", "//b/y", "https://b/y"),
        ("http://a/x", "https://b/y", "https://b/y"),
        ("https://a/x", "http://a/x", None),
        ("https://a/x", "HTTP://a/x", None),
        ("https://a/x", "data:,x", None),
    ],
)
def test_a_redirection_never_leaves_https(address, location, target):
    if target:
        assert download._redirected(address, location) == target
    else:
        with pytest.raises(
            WeightsError, match=r"https://a/x: is redirected to \w+, which is not as safe; give --mirror"
        ):
            download._redirected(address, location)


def test_a_redirection_is_followed(server, folder):
    server.raw["/a.pdparams"] = f"HTTP/1.1 307 T\r\nLocation: /dygraph/{NAME}\r\n\r\n".encode()
    assert fetch(server, folder, path="/a.pdparams")["sha256"] == sha256(CONTENT)


ENDLESS = {
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000, 0),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"C350\r\n" + b"x" * 50_000 + b"\r\n", 0),
    "a chunk of a negative size": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"x" * 100_000,
        0,
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_body_has_a_limit_of_size(server, folder, monkeypatch, kind):
    monkeypatch.setattr(download, "LARGEST", 2_000_000)
    server.endless[f"/dygraph/{NAME}"] = ENDLESS[kind]
    assert "more than 2,000,000 bytes, which no weights have; check the address" in fails(server, folder)
    assert names(folder) == [f"{NAME}.part.json"]


SLOW = {
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.05),
    "header": (b"HTTP/1.1 200 OK\r\nname: ", b"x", 0.05),
    "headers": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "body of a redirection": (b"HTTP/1.1 302 F\r\nLocation: /slow\r\n\r\n", b"x", 0.05),
    "silence": (b"", b"", 0),
}


@pytest.mark.parametrize("kind", ["body", "header", "headers", "body of a redirection"])
def test_a_server_that_takes_for_ever_has_a_limit_of_time(server, folder, monkeypatch, kind):
    monkeypatch.setattr(download, "LONGEST", 0.3)
    server.endless[f"/dygraph/{NAME}"], server.endless["/slow"] = SLOW[kind], SLOW["body"]
    began = time.monotonic()
    assert "not whole after 8.33333e-05 hours; " in fails(server, folder)
    assert time.monotonic() - began < 10


def test_a_limit_of_time_holds_below_tls(folder, monkeypatch):
    monkeypatch.setattr(download, "LONGEST", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never says anything
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/{NAME}"
        with pytest.raises(WeightsError, match="not whole after"):
            weights.fetch(Published("Net", url), folder, folder / "pins.yaml")


def test_a_file_put_there_by_hand_is_not_pinned_unless_it_holds_weights(server, folder):
    folder.mkdir()
    (folder / NAME).write_bytes(b"<html>")
    assert f"no weights, refused and kept as {NAME}.rejected: truncated or not a .pdparams file" in fails(
        server, folder
    )
    assert not (folder / "pins.yaml").exists()


def test_notes_of_a_part_that_are_none_begin_anew(server, folder):
    for notes in ("[]", "3", '{"url": 1}', json.dumps({"url": server.url(f"/dygraph/{NAME}")})):
        left(server, folder, 1000) if not folder.exists() else (folder / f"{NAME}.part").write_bytes(b"x" * 1000)
        (folder / f"{NAME}.part.json").write_text(notes)
        assert fetch(server, folder)["sha256"] == sha256(CONTENT)
        (folder / NAME).unlink()


# --- the disk, and others


def test_a_full_disk_is_one_line_and_keeps_what_is_there(server, folder, monkeypatch):
    def full(answer, file, *_):
        file.write(answer.read(1_000_000))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(download, "_pump", full)
        line = fails(server, folder)
    assert line == f"{folder / NAME}.part: cannot be written (No space left on device); make room and repeat"
    fetch(server, folder)
    assert ranges(server) == [None, "bytes=1000000-"]


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(WeightsError, match=r"cannot be written \((File exists|Not a directory)\)"):
        fetch(server, tmp_path / "weights" / "sub")


def test_two_downloads_of_one_file_do_not_mix(server, folder):
    with download._locked(folder / f"{NAME}.part"):
        assert "another process downloads it; wait for it" in fails(server, folder)
    fetch(server, folder)
    assert names(folder) == [NAME, "pins.yaml"]


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "http://h/a/..",
        "http://h/a%2F..",
        "http://h/.bashrc",
        "http://h/a%0Ab",
        "http://h/a%00",
        "http://[h",
    ],
)
def test_an_address_without_the_name_of_a_file_is_refused(folder, url):
    with pytest.raises(WeightsError, match=r"Net: http://.*: the name of the file .*; mend the card"):
        weights.fetch(Published("Net", url), folder, folder / "pins.yaml")


def test_fetching_loads_no_paddle():
    code = "import sys, ssld.commands.weights, ssld.weights; print('paddle' in sys.modules, ssld.weights.fetch)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False <function fetch")


# --- what a card names


@pytest.mark.parametrize(
    ("name", "flavour", "arch", "ending"),
    [
        ("ResNet50_vd", None, "ResNet50_vd", "/dygraph/legendary_models/ResNet50_vd_pretrained.pdparams"),
        ("ResNet50_vd", "2.0", "ResNet50_vd", "/dygraph/ResNet50_vd_pretrained.pdparams"),
        ("ResNet50_vd", "static", "ResNet50_vd", "/ResNet50_vd_pretrained.tar"),
        ("ResNet50_vd_ssld", None, "ResNet50_vd", "/dygraph/ResNet50_vd_ssld_pretrained.pdparams"),
        ("Fix_ResNeXt101_32x48d_wsl", None, None, "/dygraph/Fix_ResNeXt101_32x48d_wsl_pretrained.pdparams"),
    ],
)
def test_a_name_is_a_published_training(name, flavour, arch, ending):
    arch_name, file = cards.find_weights(name, flavour)
    assert arch_name == (arch or cards.find_teacher(name).arch)
    assert file.url.endswith(ending)


def test_a_teacher_card_gives_its_sha256_to_the_same_address(monkeypatch):
    card = cards.find_teacher("ResNet152_vd")
    object.__setattr__(card.weights, "sha256", "ab" * 32)
    monkeypatch.setattr(cards, "all_teachers", lambda: {"ResNet152_vd": card})
    assert cards.find_weights("ResNet152_vd")[1].sha256 == "ab" * 32
    assert cards.find_weights("ResNet152_vd", "static")[1].sha256 is None


def test_the_file_of_a_teacher_card_is_that_of_the_card():
    """The name ResNet50_vd_ssld moved from one training to another: the claim has the first, the teacher the second."""
    as_claim, as_teacher = cards.find_weights("ResNet50_vd_ssld")[1], cards.find_teacher("ResNet50_vd_ssld").weights
    assert as_claim.url != as_teacher.url
    assert cards.find_weights(str(shelf("teachers") / "ResNet50_vd_ssld.yaml"))[1] == as_teacher
    assert cards.find_weights("ResNet50_vd_ssld_v2")[1] == as_teacher


@pytest.mark.parametrize(
    ("name", "flavour", "message"),
    [
        ("ResNet50_vd_sld", None, r"no published training named 'ResNet50_vd_sld'; did you mean 'ResNet50_vd_ssld'\?"),
        ("ResNet50_vd_ssld", "develop", r"its card names no weights of flavour develop; give one of 2\.0, static"),
        (
            str(shelf("teachers") / "ResNet152_vd.yaml"),
            "2.0",
            "this card names one file, of a flavour that it does not state",
        ),
    ],
)
def test_a_name_or_flavour_that_is_not_there_is_one_line(name, flavour, message):
    with pytest.raises(RecipeError, match=message):
        cards.find_weights(name, flavour)
