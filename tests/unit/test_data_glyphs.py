"""`ssld data prepare glyphs`: characters drawn from real font files, those that matplotlib carries."""

import json
import os
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from ssld.data import prepare, read_list
from ssld.data.font_files import BASE, CAPITAL, SIZE, Face, Pen, faces_of, packages_of
from ssld.data.glyphs import BASIC, CANDIDATES, PUBLISHED, alike, beside_published, parts_of
from ssld.errors import DataError
from tests.e2e.command import fails, succeeds

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
KEPT = {  # the files of each family, the most regular one first
    "DejaVu Sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf"),
    "Typewriter Monos": ("typewriter.ttf",),
    "DejaVu Serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    "STIXGeneral": ("STIXGeneral.ttf",),
}
LISTS = ("train_labelled", "train_unlabelled", "val", "test")


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name == "typewriter.ttf":  # its own name begins with that of DejaVu Sans, whose kin it is
            (folder / name).write_bytes(renamed(FONTS / "DejaVuSansMono.ttf", "DejaVu Sans Mono", "Typewriter Monos"))
        else:
            shutil.copy(FONTS / name, folder / name)
    return folder


def renamed(file, old, new):
    """The bytes of a font that says that it is of another family."""
    content = file.read_bytes()
    for encoding in ("utf-16-be", "mac-roman"):
        content = content.replace(old.encode(encoding), new.encode(encoding))
    return content


def pixels(path):
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The families of KEPT, and beside them whatever should be left out."""
    root = tmp_path_factory.mktemp("fonts")
    put(root / "a", *(name for names in list(KEPT.values())[:2] for name in names))
    put(root / "b" / "deep", *(name for names in list(KEPT.values())[2:] for name in names))
    put(root / "b", "STIXSizOneSymReg.ttf", "LastResortHE-Regular.ttf", "cmsy10.ttf")
    shutil.copy(FONTS / "DejaVuSans.ttf", root / "b" / "ZZ-same-bytes.ttf")
    (root / "b" / "clone.otf").write_bytes(renamed(FONTS / "DejaVuSerif.ttf", "DejaVu Serif", "Vera Antiqua"))
    (root / "b" / "cut.ttf").write_bytes((FONTS / "cmr10.ttf").read_bytes()[:200])
    (root / "b" / "text.ttf").write_text("no font\n")
    (root / "b" / "empty.ttc").touch()
    (root / "b" / "notes.pfb").write_text("another kind\n")
    (root / "b" / "loop").symlink_to(root / "b", target_is_directory=True)
    (root / "b" / "self.ttf").symlink_to(root / "b" / "self.ttf")
    os.mkfifo(root / "b" / "pipe.ttf")
    return root


@pytest.fixture(scope="module")
def glyphs(place, tmp_path_factory):
    out, ticks = tmp_path_factory.mktemp("data") / "glyphs", []
    return out, prepare("glyphs", out, lambda *tick: ticks.append(tick), fonts=[place / "a", place / "b"]), ticks


def test_a_class_is_a_character_and_one_that_looks_like_another_is_none(glyphs):
    out, found, ticks = glyphs
    classes = (out / "classes.txt").read_text(encoding="utf-8").split()
    assert found["classes"] == len(classes) > 190
    assert set(classes) < set(CANDIDATES)
    assert {"A", "a", "7", "é", "Ω", "λ", "Ж", "я"} <= set(classes)
    assert not {"\u0391", "\u0410", "\u0430", "\u03bf"} & set(classes)  # Alpha and Cyrillic A, a and omicron look Latin
    done, totals = zip(*ticks, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1] > len(classes) * len(KEPT)


def test_every_image_shows_the_character_of_its_label_on_a_common_line(glyphs, tmp_path):
    out, found, _ = glyphs
    classes = (out / "classes.txt").read_text(encoding="utf-8").split()
    pens = {name: Pen(faces_of(put(tmp_path, files[0]) / files[0])[0]) for name, files in KEPT.items()}
    for name in ("train_labelled", "train_all", "val", "test"):
        files = read_list(out / f"{name}.txt", out, len(classes))
        assert len(files) == found["lists"][f"{name}.txt"]
        assert [chr(int(Path(path).stem, 16)) for path in files.paths] == [classes[label] for label in files.labels]
        for path in files.paths[:: len(files) // 20]:
            image = pixels(out / path)
            assert image.shape == (SIZE, SIZE)
            _, family, character = Path(path).parts
            pen = pens[family[4:].replace("-", " ")]
            assert np.array_equal(pen.draw(chr(int(Path(character).stem, 16))), image)
    assert (read_list(out / "train_unlabelled.txt", out).labels == -1).all()
    capitals = [pixels(path) for path in out.glob("images/*/0048.png")]
    assert len(capitals) == len(KEPT)
    for image in capitals:
        rows = np.flatnonzero(image.max(axis=1) > 127)
        assert abs(rows[0] - (BASE - CAPITAL)) <= 1
        assert abs(rows[-1] - (BASE - 1)) <= 1


def test_no_family_is_in_two_parts(glyphs):
    out, _, _ = glyphs
    families = {name: {path.split("/")[1] for path in read_list(out / f"{name}.txt", out).paths} for name in LISTS}
    assert all(families.values())
    assert sum(map(len, families.values())) == len(set().union(*families.values())) == len(KEPT)
    manifest = json.loads((out / "dataset.json").read_text())
    assert manifest["families"] == {"labelled": 1, "unlabelled": 1, "val": 1, "test": 1}
    assert {face["family"]: face["file"] for face in manifest["fonts"]} == {
        name: files[0] for name, files in KEPT.items()
    }
    parts = read_list(out / "train_labelled.txt", out).paths + read_list(out / "train_unlabelled.txt", out).paths
    assert read_list(out / "train_all.txt", out).paths == parts


def test_what_is_left_out_is_named_with_its_reason(glyphs):
    out, found, _ = glyphs
    rows = dict(line.split(",", 1) for line in (out / "left_out.csv").read_text().splitlines()[1:])
    wanted = {
        "b/ZZ-same-bytes.ttf": "the bytes of another font file",
        "b/clone.otf": "a family that repeats another one (Vera Antiqua repeats DejaVu Serif)",
        "b/cut.ttf": "a font that cannot be read (cut off)",
        "b/text.ttf": "a font that cannot be read (no TrueType or OpenType font)",
        "b/empty.ttc": "an empty file",
        "b/notes.pfb": "no font that is read (.pfb)",
        "b/loop": "a link to a folder",
        "b/self.ttf": "a dangling link",
        "b/pipe.ttf": "no regular file",
    }
    assert {name: rows.get(name) for name in wanted} == wanted
    assert "a family without letters or digits (STIXSizeOneSym draws no H)" in rows["b/STIXSizOneSymReg.ttf"]
    assert "a family that lacks a class (cmsy10 lacks Å, Æ" in rows["b/cmsy10.ttf"]
    assert "a family that draws letters alike (Last Resort High" in rows["b/LastResortHE-Regular.ttf"]
    assert set(rows) == {
        *wanted,
        *(f"b/{name}.ttf" for name in ("STIXSizOneSymReg", "cmsy10", "LastResortHE-Regular")),
    }
    assert found["left_out"]["a family that repeats another one"] == 1
    assert "left out, a link to a folder: 1 (b/loop)" in found["remarks"]


def test_order_and_place_of_the_folders_change_nothing(glyphs, place, tmp_path):
    out, found, _ = glyphs
    fonts = [file for file in place.rglob("*.*t*") if file.is_file() and not file.is_symlink()]
    for number, file in enumerate(sorted(fonts)):
        (tmp_path / "xy"[number % 2]).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "xy"[number % 2] / file.name)
    again = prepare("glyphs", tmp_path / "again", fonts=[tmp_path / "y", tmp_path / "x"])
    assert again["digest"] == found["digest"]
    for name in (*LISTS, "train_all", "classes"):
        assert (tmp_path / "again" / f"{name}.txt").read_bytes() == (out / f"{name}.txt").read_bytes()
    facts = [json.loads((folder / "dataset.json").read_text())["fonts"] for folder in (out, tmp_path / "again")]
    assert facts[0] == facts[1]


def test_repeating_changes_nothing_and_other_fonts_or_another_seed_are_another_set(glyphs, place, tmp_path):
    out, found, _ = glyphs
    again = prepare("glyphs", out, fonts=[place / "a", place / "b"])
    assert (again["status"], again["digest"]) == ("already prepared", found["digest"])
    with pytest.raises(DataError, match=r"holds glyphs with seed 0, fonts .*, not glyphs with seed 1, fonts"):
        prepare("glyphs", out, fonts=[place / "a", place / "b"], seed=1)
    put(tmp_path / "more", "cmr10.ttf")
    with pytest.raises(DataError, match="not glyphs with seed 0, fonts"):
        prepare("glyphs", out, fonts=[place / "a", place / "b", tmp_path / "more"])


def test_the_parts_follow_from_seed_and_names_alone():
    names = [f"family-{number}" for number in range(100)]
    parts = parts_of(names, names, 0)
    assert {part: len(members) for part, members in parts.items()} == dict(labelled=30, unlabelled=35, val=15, test=20)
    assert sorted(name for members in parts.values() for name in members) == sorted(names)
    assert parts_of(names[::-1], names, 0) == parts
    assert parts_of(names, names, 1) != parts
    fewer = parts_of(names[:99], names, 0)
    moved = {name for part, members in fewer.items() for name in members if name not in parts[part]}
    assert len(moved) <= 4  # one family less moves the ends of the parts, and nothing else
    assert [len(members) for members in parts_of(names[:4], names, 0).values()] == [1, 1, 1, 1]


def test_families_whose_names_begin_alike_are_in_one_part():
    names = [f"family-{number}{kin}" for number in range(20) for kin in ("", " Mono", " Mono Light", " Display")]
    for seed in range(3):
        parts = parts_of([name for name in names if name != "family-7"], names, seed)
        for number in range(20):
            kin = {part for part, members in parts.items() for name in members if name.split()[0] == f"family-{number}"}
            assert len(kin) == 1


def test_a_set_that_is_not_the_published_one_says_why(glyphs):
    _, found, _ = glyphs
    assert found["remarks"][-1].startswith("other fonts, or another seed, than docs/glyphs.md has; compare results of")
    published = {"seed": 0, "fonts": PUBLISHED["fonts"]}
    assert beside_published(published, PUBLISHED["digest"], "2.14.3") is None
    told = beside_published(published, "another", "2.11.1")
    assert "FreeType 2.11.1 draws here, 2.14.3 drew those" in told
    page = (Path(__file__).parents[2] / "docs/glyphs.md").read_text(encoding="utf-8")
    assert all(value in page for value in PUBLISHED.values())


def test_images_are_alike_up_to_rounding_and_a_blank_one_is_like_none():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)
    images[2] = 0
    near = np.clip(images.astype(int) + rng.integers(-1, 2, images.shape), 0, 255).astype(np.uint8)
    near[2] = 0
    assert alike(images, near).tolist() == [[True, False, False], [False, True, False], [False, False, False]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "none", "none: no such folder; give folders of font files"),
        (lambda root: root, "no TrueType or OpenType fonts; the folder is empty"),
        (lambda root: put(root, "LICENSE_STIX"), r"no TrueType or OpenType fonts; left out, no font that is read \(no"),
        (
            lambda root: put(root, "STIXSizOneSymReg.ttf"),
            "families that are left: 0, common characters: 0; 4 parts need more; add fonts",
        ),
        (
            lambda root: put(root, "DejaVuSans.ttf", "STIXGeneral.ttf"),
            "families that are left: 2, .*; 4 parts need",
        ),
    ],
    ids=["no folder", "empty", "no fonts", "symbols", "two families"],
)
def test_folders_that_give_no_data_set_are_one_line(tmp_path, make, message):
    (tmp_path / "root").mkdir()
    with pytest.raises(DataError, match=message):
        prepare("glyphs", tmp_path / "out", fonts=[make(tmp_path / "root")])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    put(tmp_path / "root", "DejaVuSans.ttf")
    (tmp_path / "root" / "DejaVuSans.ttf").chmod(0)
    with pytest.raises(DataError, match=r"a font that cannot be read: 1 \(DejaVuSans\.ttf\)"):
        prepare("glyphs", tmp_path / "out", fonts=[tmp_path / "root"])


def test_a_collection_has_several_faces(tmp_path):
    parts = [(FONTS / name).read_bytes() for name in ("DejaVuSans.ttf", "cmr10.ttf")]
    header = 12 + 4 * len(parts)
    starts = [header, header + len(parts[0])]
    moved = []
    for content, start in zip(parts, starts, strict=True):  # tables of a face are counted from the start of the file
        table = bytearray(content)
        for i in range(int.from_bytes(content[4:6], "big")):
            at = 12 + 16 * i + 8
            place = int.from_bytes(content[at : at + 4], "big") + start
            table[at : at + 4] = place.to_bytes(4, "big")
        moved.append(bytes(table))
    head = b"ttcf\0\1\0\0" + len(parts).to_bytes(4, "big") + b"".join(start.to_bytes(4, "big") for start in starts)
    (tmp_path / "two.ttc").write_bytes(head + b"".join(moved))
    faces = faces_of(tmp_path / "two.ttc")
    assert [(face.number, face.family) for face in faces] == [(0, "DejaVu Sans"), (1, "cmr10")]
    alone = Pen(faces_of(FONTS / "cmr10.ttf")[0])
    assert all(np.array_equal(Pen(faces[1]).draw(c), alone.draw(c)) for c in BASIC)
    assert Pen(faces[1]).draw("Ж") is None
    assert Pen(faces[0]).draw("Ж") is not None


def test_styles_are_read_from_the_file():
    (face,) = faces_of(FONTS / "DejaVuSerif-BoldItalic.ttf")
    assert isinstance(face, Face)
    assert (face.family, face.weight, face.slanted) == ("DejaVu Serif", 700, True)


def test_the_debian_package_of_a_file_is_that_of_dpkgs_lists(tmp_path):
    file, other = tmp_path / "x.ttf", tmp_path / "y.ttf"
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "fonts-x.list").write_text(f"/.\n{file}\n")
    (tmp_path / "info" / "fonts-m:amd64.list").write_text("/usr/share/doc\n")
    (tmp_path / "status").write_text("Package: fonts-m\nVersion: 1\n\nPackage: fonts-x\nStatus: ok\nVersion: 2.37-8\n")
    assert packages_of([file, other], tmp_path) == {file: ("fonts-x", "2.37-8")}
    assert packages_of([file], tmp_path / "no dpkg") == {}


def test_the_command_says_what_it_made_and_asks_for_fonts(place, tmp_path):
    folders = ["--fonts", place / "a", place / "b"]
    made = json.loads(succeeds("data", "prepare", "glyphs", *folders, "--out", "g", "--json", cwd=tmp_path))
    assert made["digest"] == json.loads((tmp_path / "g" / "dataset.json").read_text())["digest"]
    line = fails("data", "prepare", "glyphs", cwd=tmp_path, begun=True)
    assert line.endswith("data prepare glyphs: no fonts given; name folders of font files (--fonts DIR ...)")
