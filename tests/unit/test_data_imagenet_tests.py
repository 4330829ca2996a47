"""More test sets of ImageNet's classes, on small fakes of the published folders, and the scoring beside their lists."""

import json

import numpy as np
import pytest

from ssld.data import FileList, Scoring, prepare, read_list, read_scoring, refuse_scoring
from ssld.data.imagenet_tests import CORRUPTIONS
from ssld.distill.corruption import ALEXNET
from ssld.errors import DataError

WNIDS = [f"n{number:08d}" for number in range(1_000, 3_000, 2)]  # a thousand, and gaps between them


@pytest.fixture
def imagenet(tmp_path):
    """A folder as `ssld data prepare imagenet` leaves it, of three validation images."""
    folder = tmp_path / "imagenet"
    images(folder, *(f"val/{WNIDS[0]}/ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 50_000)))
    (folder / "classes.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    names = [f"val/{WNIDS[0]}/ILSVRC2012_val_{number:08d}.JPEG" for number in (50_000, 2, 1)]
    (folder / "val_list.txt").write_text("".join(f"{name} 0\n" for name in names))
    return folder


def images(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"an image; nothing here decodes it")
    return root


def lines(folder):
    files = read_list(folder / "val_list.txt", folder, 1000)
    return dict(zip(files.paths, files.labels.tolist(), strict=True))


def scoring(folder):
    return read_scoring(folder / "val_list.txt", read_list(folder / "val_list.txt", folder), 1000)


def test_folders_named_by_number_are_labels_and_not_places_among_texts(tmp_path):
    source = images(tmp_path / "v2", *(f"{label}/x.jpeg" for label in range(1000)))
    with pytest.raises(DataError, match="1,000 images, ImageNet-V2 has 10,000"):
        prepare("imagenet_v2", tmp_path / "out", source=source)
    found = prepare("imagenet_v2", tmp_path / "out", source=source, allow_partial=True)
    assert found == {"kind": "imagenet_v2", "classes": 1000, "lists": {"val_list.txt": 1000}, "status": "prepared"}
    assert lines(tmp_path / "out") == {f"{source}/{label}/x.jpeg": label for label in range(1000)}
    assert scoring(tmp_path / "out").plain
    again = prepare("imagenet_v2", tmp_path / "out", source=source, allow_partial=True)
    assert again["status"] == "already prepared"


def test_another_number_of_folders_or_images_of_version_2_is_refused(tmp_path):
    source = images(tmp_path / "v2", "2/a.jpeg", "10/a.jpeg")
    with pytest.raises(DataError, match=r"v2: 2 classes, ImageNet-V2 has 1,000; .*--allow-partial"):
        prepare("imagenet_v2", tmp_path / "out", source=source)
    prepare("imagenet_v2", tmp_path / "out", source=source, allow_partial=True)
    assert list(lines(tmp_path / "out").values()) == [2, 10]
    images(source, "n01440764/a.jpeg")
    with pytest.raises(DataError, match="n01440764: no label; give the folder of one variant"):
        prepare("imagenet_v2", tmp_path / "out", source=source)


@pytest.mark.parametrize(("kind", "name", "count"), [("imagenet_a", "A", 7_500), ("imagenet_r", "R", 30_000)])
def test_two_hundred_classes_are_found_among_the_thousand_and_alone_compete(tmp_path, imagenet, kind, name, count):
    labels = list(range(3, 1000, 5))
    source = images(tmp_path / "s", *(f"{WNIDS[label]}/x.jpg" for label in labels), "README.txt")
    options = {"source": source, "imagenet": imagenet}
    with pytest.raises(DataError, match=f"200 images, ImageNet-{name} has {count:,}"):
        prepare(kind, tmp_path / "out", **options)
    prepare(kind, tmp_path / "out", **options, allow_partial=True)
    assert sorted(lines(tmp_path / "out").values()) == labels
    assert scoring(tmp_path / "out").classes.tolist() == labels
    assert not scoring(tmp_path / "out").plain
    assert (tmp_path / "out" / "classes.txt").read_text().split() == WNIDS
    (source / WNIDS[3] / "x.jpg").rename(source / "x.jpg")
    with pytest.raises(DataError, match=f"{WNIDS[3]}: no images"):
        prepare(kind, tmp_path / "other", **options)
    (source / WNIDS[3]).rmdir()
    with pytest.raises(DataError, match=f"199 classes, ImageNet-{name} has 200"):
        prepare(kind, tmp_path / "other", **options)


def test_sketches_are_of_all_classes_and_need_no_scoring(tmp_path, imagenet):
    source = images(tmp_path / "sketch", f"{WNIDS[7]}/sketch_0.JPEG", f"{WNIDS[999]}/sketch_1.JPEG")
    options = {"source": source, "imagenet": imagenet}
    with pytest.raises(DataError, match="2 classes, ImageNet-Sketch has 1,000"):
        prepare("imagenet_sketch", tmp_path / "out", **options)
    prepare("imagenet_sketch", tmp_path / "out", **options, allow_partial=True)
    assert list(lines(tmp_path / "out").values()) == [7, 999]
    assert scoring(tmp_path / "out").plain
    images(source, "n99999999/x.JPEG")
    with pytest.raises(DataError, match="n99999999: not named by a WordNet id of ImageNet's classes"):
        prepare("imagenet_sketch", tmp_path / "out", **options, allow_partial=True)


def test_labels_need_the_thousand_wordnet_ids_of_a_prepared_imagenet(tmp_path, imagenet, monkeypatch):
    source = images(tmp_path / "a", f"{WNIDS[7]}/x.jpg")
    monkeypatch.setenv("SSLD_DATA", str(tmp_path))

    def run():
        return prepare("imagenet_a", tmp_path / "out", source=source, allow_partial=True)

    run()  # of the data folder, where nothing else is said
    for text in ("\n".join(WNIDS[:999]), "\n".join([*WNIDS[1:], WNIDS[0]]), "\n".join([*WNIDS[:999], "zebra"])):
        (imagenet / "classes.txt").write_text(text)
        with pytest.raises(DataError, match="is not the sorted list of ImageNet's 1,000 WordNet ids"):
            run()
    (imagenet / "classes.txt").unlink()
    with pytest.raises(
        DataError, match=r"imagenet/classes\.txt: no such file, .*`ssld data prepare imagenet`.*\(--imagenet\)"
    ):
        run()


def real(tmp_path, **changes):
    """real.json of the published form: no valid label but for the images of `changes`, named by their number."""
    held = [[] for _ in range(50_000)]
    for name, labels in changes.items():
        held[int(name[1:]) - 1] = labels
    file = tmp_path / "real.json"
    file.write_text(json.dumps(held))
    return file


def test_reassessed_labels_belong_to_the_published_names_and_images_without_one_are_left_out(tmp_path, imagenet):
    options = {"source": real(tmp_path, _1=[5, 3], _50000=[0]), "imagenet": imagenet}
    with pytest.raises(DataError, match="3 images, ImageNet has 50,000"):
        prepare("imagenet_real", tmp_path / "out", **options)
    prepare("imagenet_real", tmp_path / "out", **options, allow_partial=True)
    found = lines(tmp_path / "out")
    assert {path[-10:-5]: label for path, label in found.items()} == {"50000": 0, "00001": 5}
    assert all(path.startswith(f"{imagenet}/val/") for path in found)
    assert scoring(tmp_path / "out").valid == [[0], [5, 3]]
    again = prepare("imagenet_real", tmp_path / "out", **{**options, "source": tmp_path}, allow_partial=True)
    assert again["status"] == "already prepared"  # the folder of real.json is as good


def test_a_wrong_list_of_reassessed_labels_is_refused(tmp_path, imagenet):
    def run(source=tmp_path):
        return prepare("imagenet_real", tmp_path / "out", source=source, imagenet=imagenet, allow_partial=True)

    with pytest.raises(DataError, match="no source given; name the file"):
        run("")
    with pytest.raises(DataError, match=r"real\.json: cannot be read \(No such file or directory\)"):
        run()
    for text, message in [
        ("[[1], [2]", "it is no JSON"),
        ("[[1], [2]]", r"2 entries, ReaL has one of each of 50,000 images"),
        ('{"1": [2]}', "no list, ReaL has one"),
        (json.dumps([[0]] * 49_999 + [[1000]]), r"entry 50000 is no list of labels 0\.\.999"),
        (json.dumps([0] * 50_000), "entry 1 is no list of labels"),
        (json.dumps([[]] * 50_000), r"val_list\.txt: no image of it has a valid label"),
    ]:
        (tmp_path / "real.json").write_text(text)
        with pytest.raises(DataError, match=message):
            run()
    real(tmp_path, _1=[5])
    (imagenet / "val_list.txt").write_text("val/renamed.JPEG 0\n")
    with pytest.raises(DataError, match=r"renamed\.JPEG: ReaL goes by the names ILSVRC2012_val_00000001"):
        run()
    assert not (tmp_path / "out").exists()


def test_corruptions_are_listed_one_after_the_other_with_their_numbers_of_images(tmp_path, imagenet):
    names = [f"{corruption}/{severity}" for corruption in (*CORRUPTIONS, "spatter") for severity in range(1, 6)]
    source = images(tmp_path / "c", *(f"{name}/{WNIDS[4]}/x.JPEG" for name in names), f"fog/2/{WNIDS[9]}/y.JPEG")
    options = {"source": source, "imagenet": imagenet}
    with pytest.raises(DataError, match="gaussian_noise/1: 1 images, ImageNet-C has 50,000"):
        prepare("imagenet_c", tmp_path / "out", **options)
    assert prepare("imagenet_c", tmp_path / "out", **options, allow_partial=True)["lists"] == {"val_list.txt": 76}
    found = scoring(tmp_path / "out")
    assert found.corruptions == [(c, s, 1 + (c == "fog" and s == 2)) for c in CORRUPTIONS for s in range(1, 6)]
    assert found.cropped
    paths = list(lines(tmp_path / "out"))
    for (corruption, severity, _), part in zip(found.corruptions, found.parts(76), strict=True):
        assert {paths[i].split("/")[-4:-2] == [corruption, str(severity)] for i in part} == {True}
    assert list(CORRUPTIONS) == list(ALEXNET)


def test_a_missing_corruption_is_named_and_a_part_must_be_asked_for(tmp_path, imagenet):
    source = images(tmp_path / "c", f"gaussian_noise/1/{WNIDS[4]}/x.JPEG", f"fog/3/{WNIDS[4]}/x.JPEG")
    options = {"source": source, "imagenet": imagenet}
    with pytest.raises(DataError, match="no folder gaussian_noise/2, ImageNet-C has 75"):
        prepare("imagenet_c", tmp_path / "out", **options)
    prepare("imagenet_c", tmp_path / "out", **options, allow_partial=True)
    assert scoring(tmp_path / "out").corruptions == [("gaussian_noise", 1, 1), ("fog", 3, 1)]
    with pytest.raises(DataError, match="no folder gaussian_noise/1"):
        prepare("imagenet_c", tmp_path / "none", source=source / "fog", imagenet=imagenet, allow_partial=True)


THREE = FileList(["a.jpg", "b.jpg", "c.jpg"], np.array([1, 4, 4]))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("{", "Expecting"),
        ("[1]", "its keys are not among classes, valid, corruptions"),
        ('{"clases": [1, 4]}', "its keys are not among"),
        ('{"classes": [4, 1]}', "classes are not ascending"),
        ('{"classes": [1, 3]}', "label 4 is not among its classes"),
        ('{"classes": [1, 4, 10]}', "10 is no label; the network has 10 classes"),
        ('{"classes": 4}', "not iterable"),
        ('{"valid": [[1], [4]]}', "it has labels of 2 images, the list has 3"),
        ('{"valid": [[1], [], [4]]}', "it has labels of 2 images, the list has 3"),
        ('{"valid": [[1], [4.0], [4]]}', "4.0 is no label"),
        ('{"valid": [[1], [4], [4]], "classes": [1, 4]}', "classes and valid exclude each other"),
        ('{"corruptions": [["fog", 1, 2]]}', "it counts 2 images, the list has 3"),
        ('{"corruptions": []}', "it counts 0 images"),
        ('{"corruptions": [["fog", 1]]}', "not enough values"),
    ],
)
def test_a_scoring_that_does_not_fit_its_list_is_named(tmp_path, held, said):
    (tmp_path / "val.scoring.json").write_text(held)
    with pytest.raises(DataError, match=rf"val\.scoring\.json: does not fit val\.txt \(.*{said}") as caught:
        read_scoring(tmp_path / "val.txt", THREE, 10)
    assert "\n" not in str(caught.value)


def test_a_list_without_a_scoring_is_scored_by_its_labels_and_one_with_is_for_evaluations_alone(tmp_path):
    listed = tmp_path / "val.txt"
    assert read_scoring(listed, THREE, 10) == Scoring()
    refuse_scoring(listed)
    (tmp_path / "val.scoring.json").write_text('{"classes": [1, 4]}')
    assert read_scoring(listed, THREE, 10).classes.tolist() == [1, 4]
    with pytest.raises(DataError, match=r"val\.txt: val\.scoring\.json says how to score it, as only `ssld eval` does"):
        refuse_scoring(listed)
