"""These tests read published weights of every format strictly, recognise them by their keys, and write them as ours."""

import hashlib
import re

import numpy as np
import paddle
import pytest

from ssld import models, weights
from ssld.errors import WeightsError
from ssld.weights import store
from ssld.weights.loading import check, read
from ssld.weights.recognise import FLAVOURS, shapes
from ssld.weights.store import Contents
from tests.unit import tiny_zoo
from tests.unit.weights_files import (
    KINDS,
    all_series,
    entries,
    lodtensor,
    published,
    random_state,
    smallest,
    write,
    write_pdparams,
    write_tar,
)

FEW = ("mobilenet_v3", "shufflenet_v2", "squeezenet")  # these have few parameters
EVERY = [name if name in FEW else pytest.param(name, marks=pytest.mark.zoo) for name in all_series()]


@pytest.fixture
def zoo(monkeypatch):
    tiny_zoo.zoo(monkeypatch)


def same(network, state):
    own = network.state_dict()
    return own.keys() == state.keys() and all(np.array_equal(own[key].numpy(), state[key]) for key in state)


def fails(path, arch, classes=10, revision="2.x"):
    """Return the line with which a file is refused, by import and by loading; nothing may be set or written."""
    network = models.create(arch, classes, revision=revision)
    before = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        weights.load_into(network, path)
    assert same(network, before)
    with pytest.raises(WeightsError) as again:
        weights.convert(path, arch, path.parent / "out.safetensors")
    assert not (path.parent / "out.safetensors").exists()
    assert str(caught.value) == str(again.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- every format, every series


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("series", EVERY)
def test_every_format_gives_the_state_back(series, kind, tmp_path):
    arch = smallest(series)
    revision = "1.x" if models.revised(arch) else "2.x"
    state = random_state(arch, revision=revision)
    network = models.create(arch, num_classes=10, revision=revision)
    weights.load_into(network, write(kind, tmp_path, arch, state, revision), revision=revision)
    assert same(network, state)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("series", all_series())
def test_the_keys_of_every_series_are_recognised_and_lead_to_the_right_entries(series, flavour, monkeypatch):
    arch = smallest(series)
    revision = "1.x" if models.revised(arch) else "2.x"
    expected = shapes(arch, 10, revision)
    # Such an array takes no memory.
    state = {key: np.broadcast_to(np.float32(i), expected[key]) for i, key in enumerate(expected)}
    names = published(arch, state, flavour, revision)
    monkeypatch.setattr(store, "contents", lambda path: Contents(path, names, archive=flavour == "static"))
    weights_read = read("some.file", arch, revision)
    check(weights_read, expected, 10)
    assert {key: array.flat[0] for key, array in weights_read.state.items()} == {
        key: i for i, key in enumerate(expected)
    }
    assert weights_read.way.names == models.keymap(arch, flavour, revision)


@pytest.mark.parametrize("series", all_series())
def test_no_two_flavours_share_their_names_but_not_their_meaning(series):
    arch = smallest(series)
    maps = [models.keymap(arch, flavour, "1.x" if models.revised(arch) else "2.x") for flavour in FLAVOURS]
    assert all(a == b or a.keys() != b.keys() for a in maps for b in maps)


def test_the_file_of_paddle_itself_is_read_as_the_documented_layout(zoo, tmp_path):
    state = random_state("Tiny1")
    for name, array in published("Tiny1", state, "static").items():
        file = tmp_path / "net" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        paddle.save(paddle.to_tensor(array), str(file), use_binary_format=True)
        assert file.read_bytes() == lodtensor(array)
    network = models.create("Tiny1", num_classes=10)
    weights.load_into(network, tmp_path / "net")
    assert same(network, state)


def test_the_worked_header_of_the_layout():
    content = lodtensor(np.zeros((64, 3, 7, 7), "float32"))
    assert content[:20] == bytes(4) + bytes(8) + bytes(4) + b"\x0a\0\0\0"
    assert content[20:30] == bytes.fromhex("08 05 10 40 10 03 10 07 10 07")
    assert len(content) == 30 + 4 * 64 * 3 * 7 * 7


def test_levels_of_detail_are_skipped(zoo, tmp_path):
    state = random_state("Tiny1")
    files = {
        name: lodtensor(array, levels=[(0, 2, 3), (0, 1)])
        for name, array in published("Tiny1", state, "static").items()
    }
    network = models.create("Tiny1", num_classes=10)
    weights.load_into(network, write_tar(tmp_path / "net.tar", files))
    assert same(network, state)


@pytest.mark.parametrize("top", ["", "./", "ResNet_pretrained/", "./a/b/"])
def test_the_folder_in_an_archive_may_have_any_name(zoo, tmp_path, top):
    state = random_state("Tiny2")
    path = write_tar(tmp_path / "net.tar", entries(published("Tiny2", state, "static"), top))
    assert weights.load(path).keys() == models.keymap("Tiny2", "static").keys()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("kind", ["tar", "static"])
def test_half_and_double_precision_become_float32(zoo, tmp_path, dtype, kind):
    state = {key: array.astype(dtype) for key, array in random_state("Tiny1").items()}
    network = models.create("Tiny1", num_classes=10)
    weights.load_into(network, write(kind, tmp_path, "Tiny1", state))
    assert same(network, {key: array.astype("float32") for key, array in state.items()})


@pytest.mark.parametrize("kind", ["tar", "develop"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_none_are_refused(zoo, tmp_path, kind, value):
    state = {key: array.astype("float64") for key, array in random_state("Tiny1").items()}
    state["head.fc.bias"][3] = value
    assert "head.fc.bias holds values that are not finite" in fails(write(kind, tmp_path, "Tiny1", state), "Tiny1")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("kind", ["tar", "develop"])
def test_whole_numbers_are_no_weights(zoo, tmp_path, kind, dtype):
    state = random_state("Tiny1")
    state["head.fc.weight"] = state["head.fc.weight"].astype(dtype)
    line = fails(write(kind, tmp_path, "Tiny1", state), "Tiny1")
    assert "1 arrays are not floats (head.fc.weight); quantised weights cannot be loaded here" in line


# --- what a file is: flavour, revision, number of classes


@pytest.mark.parametrize(
    ("kind", "flavour"),
    [("tar", "static"), ("folder", "static"), ("static", "static"), ("2.0", "2.0"), ("develop",) * 2],
)
def test_an_import_says_where_the_weights_came_from(zoo, tmp_path, kind, flavour):
    state = random_state("Tiny2", classes=7)
    path = write(kind, tmp_path, "Tiny2", state)
    result = weights.convert(path, "Tiny2", tmp_path / "out.safetensors")
    noted = weights.metadata(tmp_path / "out.safetensors")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", noted["date"])
    assert noted.items() >= {
        "arch": "Tiny2", "num_classes": "7", "revision": "2.x", "flavour": flavour, "source": path.name,
    }.items()  # fmt: skip
    if path.is_file():
        content = path.read_bytes()
        assert noted["source_sha256"] == hashlib.sha256(content).hexdigest()
        assert noted["source_bytes"] == str(len(content))
    written = (tmp_path / "out.safetensors").read_bytes()
    assert result.items() >= {
        "status": "written", "sha256": hashlib.sha256(written).hexdigest(), "bytes": len(written),
        "keys": len(state), "parameters": sum(array.size for array in state.values()) - 2 * 4, **noted,
    }.items()  # fmt: skip
    network = models.create("Tiny2", num_classes=7)
    weights.load_into(network, tmp_path / "out.safetensors")
    assert same(network, state)


def test_the_digest_of_a_folder_is_that_of_the_sha256sum_list_of_its_files(zoo, tmp_path):
    path = write("folder", tmp_path, "Tiny1", random_state("Tiny1"))
    lines = [
        f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(models.keymap("Tiny1", "static"))
    ]
    result = weights.convert(path, "Tiny1")
    assert result["source_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert result["file"] == str(tmp_path / "Tiny1_pretrained.safetensors")


def test_safetensors_of_ours_can_be_imported_too(zoo, tmp_path):
    path = write("safetensors", tmp_path, "Tiny1", random_state("Tiny1"))
    with pytest.raises(WeightsError, match=r"ours\.safetensors: is there and holds something else"):
        weights.convert(path, "Tiny1")
    assert weights.convert(path, "Tiny1", tmp_path / "out.safetensors")["flavour"] == "ours"


@pytest.mark.parametrize("arch", ["Tiny_wide", "Tiny_bias", "Tiny_drop", "Same_drop"])
def test_variables_of_1x_belong_to_revision_1x(zoo, tmp_path, arch):
    path = write("tar", tmp_path, arch, random_state(arch, revision="1.x"), "1.x")
    assert weights.convert(path, arch)["revision"] == "1.x"
    line = f"{path}: weights of revision 1.x, the network is of 2.x; create '{arch}' with revision='1.x'"
    with pytest.raises(WeightsError, match=re.escape(line)):
        weights.load_into(models.create(arch, num_classes=10), path)
    weights.load_into(models.create(arch, num_classes=10, revision="1.x"), path)


@pytest.mark.parametrize(("arch", "revision"), [("Tiny_wide", "1.x"), ("Tiny_wide", "2.x"), ("Tiny_bias", "2.x")])
def test_keys_and_shapes_tell_the_revision_where_they_can(zoo, tmp_path, arch, revision):
    path = write("develop", tmp_path, arch, random_state(arch, revision=revision), revision)
    assert weights.convert(path, arch)["revision"] == revision
    other = "2.x" if revision == "1.x" else "1.x"
    with pytest.raises(WeightsError, match=f"weights of revision {revision}, the network is of {other}"):
        weights.load_into(models.create(arch, num_classes=10, revision=other), path)
    with pytest.raises(WeightsError, match=f"not the weights of revision {other} of {arch}; leave the revision out"):
        weights.convert(path, arch, revision=other)


@pytest.mark.parametrize("arch", ["Tiny_drop", "Same_drop"])
def test_where_they_cannot_the_revision_has_to_be_given(zoo, tmp_path, arch):
    state = random_state(arch)
    path = write("develop", tmp_path, arch, state)
    line = fails(path, arch)
    assert f"for {arch} its keys and shapes are those of develop of revision 2.x and develop of revision 1.x" in line
    assert "--revision 1.x if PaddleClas 1.x or 2.0 trained it" in line
    for revision in ("1.x", "2.x"):
        out = tmp_path / f"{revision}.safetensors"
        assert weights.convert(path, arch, out, revision)["revision"] == revision
        network = models.create(arch, num_classes=10, revision=revision)
        weights.load_into(network, out)
        weights.load_into(network, path, revision=revision)
        assert same(network, state)


def test_a_network_without_revisions_has_no_revision_to_give(zoo, tmp_path):
    path = write("develop", tmp_path, "Tiny1", random_state("Tiny1"))
    with pytest.raises(WeightsError, match=r"not the weights of revision 1\.x of Tiny1; leave the revision out"):
        weights.convert(path, "Tiny1", revision="1.x")
    weights.load_into(models.create("Tiny1", num_classes=10, revision="1.x"), path)  # this is the same network


def test_what_we_saved_is_held_to_its_revision(zoo, tmp_path):
    network = models.create("Tiny_drop", num_classes=10, revision="1.x")
    weights.save(network, tmp_path / "m.safetensors")
    weights.load_into(network, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"weights of revision 1\.x, the network is of 2\.x"):
        weights.load_into(models.create("Tiny_drop", num_classes=10), tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"made for revision 1\.x, not 2\.x"):
        weights.convert(tmp_path / "m.safetensors", "Tiny_drop", tmp_path / "out.safetensors", "2.x")


def test_what_was_saved_before_there_were_revisions_is_2x(zoo, tmp_path):
    weights.save(random_state("Tiny_drop"), tmp_path / "m.safetensors", arch="Tiny_drop", num_classes="10")
    weights.load_into(models.create("Tiny_drop", num_classes=10), tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"weights of revision 2\.x, the network is of 1\.x"):
        weights.load_into(models.create("Tiny_drop", 10, revision="1.x"), tmp_path / "m.safetensors")


@pytest.mark.parametrize("kind", ["tar", "develop", "safetensors"])
def test_another_number_of_classes_is_named(zoo, tmp_path, kind):
    path = write(kind, tmp_path, "Tiny2", random_state("Tiny2"))
    with pytest.raises(WeightsError, match="made for 10 classes, the network has 4; create it with the file's number"):
        weights.load_into(models.create("Tiny2", num_classes=4), path)


# --- other networks


@pytest.mark.parametrize("kind", ["tar", "folder", "static", "2.0", "develop"])
@pytest.mark.parametrize(("other", "asked"), [("Tiny1", "Tiny2"), ("Same", "Tiny1")])
def test_weights_of_another_network_name_the_one_that_they_fit(zoo, tmp_path, kind, other, asked):
    line = fails(write(kind, tmp_path, other, random_state(other)), asked)
    assert re.search(rf": not the weights of {asked}: \d+ (missing|extra) \(.*\) of \d+ keys; it fits {other}$", line)


def test_or_the_several_that_they_fit_the_one_like_the_file_first(zoo, tmp_path):
    names = published("Tiny2", random_state("Tiny2"))
    assert fails(write_pdparams(tmp_path / "x.pdparams", names), "Tiny1").endswith("; it fits Tiny2 or Tiny2_t")
    line = fails(write_pdparams(tmp_path / "Tiny2_t.pdparams", names), "Tiny1")
    assert line.endswith("; it fits Tiny2_t or Tiny2")


def test_an_import_says_what_else_the_file_would_fit(zoo, tmp_path, capsys):
    path = write("tar", tmp_path, "Tiny2", random_state("Tiny2"))
    weights.convert(path, "Tiny2")
    line = f"{path}: its keys and shapes are those of Tiny2_t too; make sure that it is Tiny2\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("kind", ["tar", "develop"])
def test_so_does_one_of_the_same_keys_and_other_shapes(zoo, tmp_path, kind):
    line = fails(write(kind, tmp_path, "Tiny2_w", random_state("Tiny2_w")), "Tiny2")
    assert re.search(
        r": \d+ arrays of another shape: stem\.conv\.weight is \[5, 3, 3, 3\], the network has \[4, ", line
    )
    assert line.endswith("; it fits Tiny2_w")


def test_a_mapping_of_ours_names_the_network_too(zoo, tmp_path):
    weights.save(random_state("Tiny2"), tmp_path / "m.safetensors")
    assert fails(tmp_path / "m.safetensors", "Tiny1").endswith(
        "1 extra (stages.1.0.weight) of 8 keys; it fits Tiny2 or Tiny2_t"
    )


def test_what_fits_nothing_says_so(zoo, tmp_path):
    names = published("Tiny1", random_state("Tiny1"))
    names["a\nb"] = names.pop("fc.bias")
    line = fails(write_pdparams(tmp_path / "m.pdparams", names), "Tiny1")
    assert "1 missing (fc.bias) and 1 extra (a\\nb) of 8 keys; it fits no other network of the zoo; check" in line


# --- beside the weights


def test_what_lies_beside_the_weights_is_ignored_and_counted(zoo, tmp_path, capsys):
    state = random_state("Tiny1")
    files = entries(published("Tiny1", state, "static"))
    files["net_pretrained/fc_0.w_0_velocity_0"] = lodtensor(state["head.fc.weight"])
    files["net_pretrained/@LR_DECAY_COUNTER@"] = lodtensor(np.array([7], "int64"))
    files["net_pretrained/learning_rate_0"] = lodtensor(np.array([0.1], "float32"))
    files["README"] = b"read me"
    files["._net_pretrained"] = b"\x00\x05\x16\x07 of a Mac"
    network = models.create("Tiny1", num_classes=10)
    weights.load_into(network, write_tar(tmp_path / "net.tar", files))
    assert same(network, state)
    line = "net.tar: 5 files beside the weights are ignored: ._net_pretrained, @LR_DECAY_COUNTER@, README ...\n"
    assert capsys.readouterr().err == f"{tmp_path}/{line}"


def test_but_not_the_rest_of_a_larger_network(zoo, tmp_path):
    """An archive of Tiny2 has all variables of Tiny1, with the same shapes."""
    path = write("tar", tmp_path, "Tiny2", random_state("Tiny2"))
    assert "1 extra (tiny/block1/weights) of 8 keys; it fits Tiny2" in fails(path, "Tiny1")


# --- what is written


def test_an_import_never_replaces_something_else(zoo, tmp_path):
    path, out = write("tar", tmp_path, "Tiny1", random_state("Tiny1")), tmp_path / "out.safetensors"
    first = weights.convert(path, "Tiny1", out)
    content, stamp = out.read_bytes(), out.stat().st_mtime_ns
    assert weights.convert(path, "Tiny1", out) == {**first, "status": "already there"}
    other = write("develop", tmp_path, "Tiny1", random_state("Tiny1", seed=1))
    for source in (other, write("static", tmp_path, "Tiny1", random_state("Tiny1"))):
        with pytest.raises(WeightsError, match=r"out\.safetensors: is there and holds something else; give another"):
            weights.convert(source, "Tiny1", out)
    assert (out.read_bytes(), out.stat().st_mtime_ns) == (content, stamp)
    assert weights.convert(other, "Tiny1", out, force=True)["flavour"] == "develop"
    out.write_text("my thesis")
    with pytest.raises(WeightsError, match="holds something else"):
        weights.convert(path, "Tiny1", out)
    assert out.read_text() == "my thesis"


def test_what_is_written_is_named_by_its_ending(zoo, tmp_path):
    path = write("tar", tmp_path, "Tiny1", random_state("Tiny1"))
    with pytest.raises(WeightsError, match=r"out\.pdparams: what is written is a safetensors file"):
        weights.convert(path, "Tiny1", tmp_path / "out.pdparams")


def test_the_same_weights_on_another_day_are_the_same(zoo, tmp_path):
    path, out = write("tar", tmp_path, "Tiny1", random_state("Tiny1")), tmp_path / "out.safetensors"
    weights.convert(path, "Tiny1", out)
    weights.save(weights.load(out), out, **{**weights.metadata(out), "date": "2020-02-20"})
    assert weights.convert(path, "Tiny1", out)["status"] == "already there"
    assert weights.metadata(out)["date"] == "2020-02-20"
    # These are other numbers of the same origin.
    weights.save(random_state("Tiny1", seed=1), out, **weights.metadata(out))
    with pytest.raises(WeightsError, match="holds something else"):
        weights.convert(path, "Tiny1", out)
