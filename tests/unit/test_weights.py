"""These tests ask whether weights come back as written, misfits are refused whole, and a pickle runs nothing."""

import pickle
import re

import numpy as np
import paddle
import pytest

from ssld import models, weights
from ssld.errors import WeightsError

ARCH = "MobileNetV3_small_x0_35"


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Keep a few architectures to search when weights do not fit, because searching the whole zoo takes long."""
    monkeypatch.setattr(models, "names", lambda: [ARCH, "MobileNetV3_small_x0_5", "ResNet18"])


@pytest.fixture(scope="module")
def model():
    """Return a network whose every entry is random, running statistics too."""
    paddle.seed(1)
    network, rng = models.create(ARCH, num_classes=10), np.random.default_rng(0)
    for tensor in network.state_dict().values():
        tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
    return network


def published(model):
    """Return the state under its published names, as `paddle.save(state_dict)` of 2.x arranges it."""
    own = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    state = {key: own[ours] for key, ours in models.keymap(model.arch).items()}
    return {**state, "StructuredToParameterName@@": {key: f"conv2d_{i}.w_0" for i, key in enumerate(state)}}


def dumped(path, tree, protocol=2):
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


def same(a, b):
    return all(np.array_equal(a[key].numpy(), b[key].numpy()) for key in a) and list(a) == list(b)


def test_a_round_trip_gives_every_entry_back(model, tmp_path):
    weights.save(model, tmp_path / "m.safetensors", digest="abc")
    fresh = models.create(ARCH, num_classes=10)
    weights.load_into(fresh, tmp_path / "m.safetensors")
    assert same(fresh.state_dict(), model.state_dict())
    assert weights.metadata(tmp_path / "m.safetensors") == {
        "arch": ARCH,
        "num_classes": "10",
        "revision": "2.x",
        "digest": "abc",
    }


def test_the_same_weights_make_the_same_bytes_every_time(model, tmp_path):
    noted = {"source": 'a "quoted" line\n', "z": "ü/\\", "digest": "abc", "y": "", "x": "1"}
    made = set()
    for number in range(6):
        weights.save(model, tmp_path / f"{number}.safetensors", **noted)
        made.add((tmp_path / f"{number}.safetensors").read_bytes())
        assert noted.items() <= weights.metadata(tmp_path / f"{number}.safetensors").items()
    assert len(made) == 1
    weights.save({"a": np.ones(3)}, tmp_path / "bare.safetensors")
    assert weights.load(tmp_path / "bare.safetensors")["a"].tolist() == [1, 1, 1]


def test_a_mapping_of_strided_arrays_is_written_as_it_reads(tmp_path):
    array = np.arange(12, dtype="float32").reshape(3, 4)
    weights.save({"a": array.T, "b": array[:, ::2]}, tmp_path / "x.safetensors")
    back = weights.load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(back["a"], array.T)
    np.testing.assert_array_equal(back["b"], array[:, ::2])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    weights.save({"a": np.zeros(2, "float32")}, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WeightsError, match=r"m\.safetensors: the disk is full; free some space; nothing"):
        weights.save({"a": np.ones(2, "float32")}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
    assert weights.load(path)["a"].tolist() == [0, 0]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_published_file_loads_and_gives_the_same_logits(model, tmp_path, protocol):
    fresh = models.create(ARCH, num_classes=10)
    weights.load_into(fresh, dumped(tmp_path / "m.pdparams", published(model), protocol))
    images = paddle.randn([2, 3, 32, 32])
    model.eval()
    fresh.eval()
    with paddle.no_grad():
        assert bool((fresh(images) == model(images)).all())


def test_a_file_of_paddle_itself_loads(model, tmp_path):
    own = model.state_dict()
    paddle.save({key: own[ours] for key, ours in models.keymap(ARCH).items()}, str(tmp_path / "m.pdparams"))
    fresh = models.create(ARCH, num_classes=10)
    weights.load_into(fresh, tmp_path / "m.pdparams")
    assert same(fresh.state_dict(), own)


def test_big_arrays_in_slices_are_joined(tmp_path):
    array = np.arange(24, dtype="float32").reshape(2, 3, 4)
    tree = {f"a@@.{i}": piece for i, piece in enumerate(np.split(array.ravel(), 3))}
    tree["UnpackBigParamInfor@@"] = {"a": {"OriginShape": (2, 3, 4), "slices": ["a@@.0", "a@@.1", "a@@.2"]}}
    back = weights.load(dumped(tmp_path / "big.pdparams", tree))
    assert list(back) == ["a"]
    np.testing.assert_array_equal(back["a"], array)


def test_slices_that_do_not_add_up_are_refused(tmp_path):
    tree = {"a@@.0": np.zeros(3, "float32")}
    tree["UnpackBigParamInfor@@"] = {"a": {"OriginShape": (2, 3), "slices": ["a@@.0"]}}
    with pytest.raises(WeightsError, match=r"the pieces of a do not add up to \[2, 3\]"):
        weights.load(dumped(tmp_path / "big.pdparams", tree))


class Exploit:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_that_names_a_function_is_refused_and_nothing_ran(tmp_path, protocol):
    ran = tmp_path / "ran"
    tree = {"a": np.zeros(2, "float32"), "b": Exploit(open, str(ran), "w")}
    with pytest.raises(WeightsError, match=r"m\.pdparams: it wants to run _?io\.open, which no weights need"):
        weights.load(dumped(tmp_path / "m.pdparams", tree, protocol))
    assert not ran.exists()


def test_a_codec_other_than_that_of_array_bytes_is_refused(tmp_path):
    import codecs

    with pytest.raises(WeightsError, match="bytes in rot13"):
        weights.load(dumped(tmp_path / "m.pdparams", {"a": Exploit(codecs.encode, "abc", "rot13")}))


@pytest.mark.parametrize("tree", [{"a": "text"}, {"a": np.array([object], dtype=object)}, {3: np.zeros(2)}, [1, 2]])
def test_a_file_that_holds_more_than_arrays_is_refused(tmp_path, tree):
    with pytest.raises(WeightsError, match=r"m\.pdparams: (an entry|entry|holds a|it wants)"):
        weights.load(dumped(tmp_path / "m.pdparams", tree))


@pytest.mark.parametrize("kind", ["safetensors", "pdparams"])
@pytest.mark.parametrize("keep", [0, 7, 5000, -1])
def test_a_truncated_file_is_refused(model, tmp_path, kind, keep):
    path = tmp_path / f"m.{kind}"
    if kind == "safetensors":
        weights.save(model, path)
    else:
        dumped(path, published(model))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=rf"m\.{kind}: (damaged|truncated) or not a") as caught:
        weights.load_into(models.create(ARCH, num_classes=10), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "pdparams"])
def test_weights_of_another_number_of_classes_say_so_and_change_nothing(model, tmp_path, kind):
    path = tmp_path / f"m.{kind}"
    if kind == "safetensors":
        weights.save(model, path)
    else:
        dumped(path, published(model))
    fresh = models.create(ARCH, num_classes=7)
    before = {key: tensor.clone() for key, tensor in fresh.state_dict().items()}
    with pytest.raises(WeightsError, match="made for 10 classes, the network has 7"):
        weights.load_into(fresh, path)
    assert same(before, fresh.state_dict())


def test_weights_of_another_architecture_are_named(model, tmp_path):
    weights.save(model, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=f"made for {ARCH}, the network is ResNet18"):
        weights.load_into(models.create("ResNet18", num_classes=10), tmp_path / "m.safetensors")


def test_published_weights_of_another_width_name_arrays_and_shapes(model, tmp_path):
    wider = models.create("MobileNetV3_small_x0_5", num_classes=10)
    with pytest.raises(WeightsError, match=r"\d+ arrays of another shape: \S+ is \[.*\], the network has \[.*\]; "):
        weights.load_into(wider, dumped(tmp_path / "m.pdparams", published(model)))


def test_missing_and_extra_keys_are_counted_and_the_first_three_named(model, tmp_path):
    state = published(model)
    for i, key in enumerate(("conv.bn.bias", "conv.bn.weight", "fc.bias", "fc.weight")):
        state[f"teacher.{i}"] = state.pop(key)
    path = dumped(tmp_path / "m.pdparams", state)
    expected = (
        f"{path}: not the weights of {ARCH}: 4 missing (conv.bn.bias, conv.bn.weight, fc.bias ...) and "
        "4 extra (teacher.0, teacher.1, teacher.2 ...)"
    )
    with pytest.raises(WeightsError, match=re.escape(expected)):
        weights.load_into(models.create(ARCH, num_classes=10), path)


@pytest.mark.parametrize("kind", ["safetensors", "pdparams"])
def test_one_key_too_many_is_refused(model, tmp_path, kind):
    path, state = tmp_path / f"m.{kind}", published(model)
    if kind == "safetensors":
        weights.save({**model.state_dict(), "more": np.zeros(2, "float32")}, path)
    else:
        dumped(path, {**state, "more": np.zeros(2, "float32")})
    with pytest.raises(WeightsError, match=r"1 extra \(more\) of \d+ keys"):
        weights.load_into(models.create(ARCH, num_classes=10), path)


def test_quantised_weights_are_refused(model, tmp_path):
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    state["head.fc.bias"] = state["head.fc.bias"].astype("int8")
    weights.save(state, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"1 arrays are not floats \(head\.fc\.bias\)"):
        weights.load_into(models.create(ARCH, num_classes=10), tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("name", "message"), [("nobody.safetensors", "no such file"), ("m.pth", "not a kind of weights that is read here")]
)
def test_a_path_that_cannot_be_weights_is_one_line(tmp_path, name, message):
    with pytest.raises(WeightsError, match=message):
        weights.load(tmp_path / name)
