"""Networks of other frameworks as teachers: the same numbers as in NumPy and the framework, a line a mistake."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper
from sklearn.datasets import load_digits

from ssld import foreign
from ssld.config import parse
from ssld.config.foreign import AccuracyCheck, InputSpec, NetworkSpec
from ssld.config.keys import plain
from ssld.errors import RecipeError, RunError
from ssld.foreign import OnnxNetwork, PaddleProgram, accuracy, check_accuracy, onnx_engine, paddle_engine
from tests.unit import foreign_files as files
from tests.unit import test_docs, toy_export
from tests.unit.foreign_files import CLASSES, SIZE, images, in_numpy, spec, write

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def network(file, classes=CLASSES, threads=1, **changed):
    return OnnxNetwork(file, spec(**changed), classes, threads)


def softmax(logits, temperature=1.0):
    exponentials = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    return exponentials / exponentials.sum(1, keepdims=True)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("side", [SIZE, "side"])
def test_an_onnx_file_gives_the_logits_of_the_same_network_in_numpy(tmp_path, layout, batch, side):
    taught = network(write(tmp_path / "m.onnx", layout=layout, batch=batch, side=side), layout=layout)
    for count in (1, 4, 6):
        logits = taught(images(count))["logits"]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, in_numpy(images(count))["logits"], **CLOSE)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_channels_are_turned_round_for_a_network_that_takes_them_as_bgr(tmp_path, layout):
    taught = network(write(tmp_path / "m.onnx", layout=layout), layout=layout, channels="bgr")
    given = images(3)
    wanted = in_numpy(np.stack([given[:, 2], given[:, 1], given[:, 0]], axis=1))["logits"]
    np.testing.assert_allclose(taught(given)["logits"], wanted, **CLOSE)
    assert np.abs(wanted - in_numpy(given)["logits"]).max() > 0.1


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_images_are_given_in_the_type_of_the_file(tmp_path, dtype):
    taught = network(write(tmp_path / "m.onnx", dtype=dtype, scale=1 / 255), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, SIZE, SIZE))
    given = pixels.astype("float32") / np.float32(255) / np.float32(1 / 255)  # 0 to 255, up to rounding
    np.testing.assert_allclose(taught(given)["logits"], in_numpy(pixels, 1 / 255)["logits"], rtol=1e-3, atol=1e-4)


def test_pixels_beyond_the_range_of_uint8_are_cut_and_do_not_wrap_round(tmp_path):
    taught = network(write(tmp_path / "m.onnx", dtype="uint8", scale=1 / 255), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    given = np.random.default_rng(0).uniform(-40, 300, (2, 3, SIZE, SIZE)).astype("float32")
    wanted = in_numpy(np.minimum(np.maximum(np.round(given), 0), 255), 1 / 255)["logits"]
    np.testing.assert_allclose(taught(given)["logits"], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_probabilities_become_logits_of_the_same_softmax_at_every_temperature(tmp_path, temperature):
    file = write(tmp_path / "m.onnx", outputs=("probabilities",))
    logits = network(file, gives="probabilities")(images(6))["logits"]
    wanted = in_numpy(images(6))
    np.testing.assert_allclose(np.exp(logits), wanted["probabilities"], **CLOSE)
    np.testing.assert_allclose(softmax(logits, temperature), softmax(wanted["logits"], temperature), **CLOSE)


def test_a_probability_of_zero_becomes_the_smallest_logit_and_not_minus_infinity(tmp_path):
    shift = np.array([0, 0, 0, 0, -1000], "float32")
    more = (helper.make_node("Add", ["logits", "shift"], ["low"]), helper.make_node("Softmax", ["low"], ["p"]))
    file = write(tmp_path / "m.onnx", more=more, arrays={"shift": shift}, outputs=("p",))
    logits = network(file, gives="probabilities")(images(2))["logits"]
    np.testing.assert_allclose(logits[:, 4], np.log(2.0**-126), rtol=1e-6)


def test_a_named_tensor_inside_the_file_can_be_the_output(tmp_path):
    file = write(tmp_path / "m.onnx", outputs=("probabilities",))
    np.testing.assert_allclose(
        network(file, output="logits")(images(3))["logits"], in_numpy(images(3))["logits"], **CLOSE
    )


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("writer", [files.write, files.write_external], ids=["one file", "external weights"])
def test_taps_are_the_named_tensors_one_row_an_image(tmp_path, batch, writer, monkeypatch):
    import onnxruntime

    if writer is files.write_external and onnxruntime.__version__.startswith("1.20."):
        pytest.skip("ONNX Runtime 1.20 gives no inner tensors of a file with external weights")
    file = writer(tmp_path / "m.onnx", batch=batch)
    monkeypatch.chdir(tmp_path.parent)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    taps = {"embedding": "embedding", "stage1": "map", "scores": "logits"}
    taught = network(file, taps=taps)
    given, wanted = taught(images(6)), in_numpy(images(6))
    assert taught.gives == tuple(given) == ("logits", "embedding", "stage1", "scores")
    for tap, tensor in taps.items():
        np.testing.assert_allclose(given[tap], wanted[tensor], **CLOSE)
        assert given[tap].dtype == np.float32
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE], ids=["float16", "float64"])
def test_taps_and_scores_of_another_precision_become_float32(tmp_path, kind):
    more = (
        helper.make_node("Cast", ["map"], ["m"], to=kind),
        helper.make_node("Cast", ["logits"], ["scores"], to=kind),
    )
    given = network(write(tmp_path / "m.onnx", more=more, outputs=("scores",)), taps={"map": "m"})(images(3))
    for name, values in given.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, in_numpy(images(3))[name], rtol=5e-3, atol=5e-3)


def test_a_fixed_batch_is_run_as_often_as_it_has_to_be(tmp_path):
    taught = network(write(tmp_path / "m.onnx", batch=4))
    shapes, run = [], taught._engine.run
    taught._engine.run = lambda fed: shapes.append(len(fed)) or run(fed)
    for count, wanted in ((3, [4]), (4, [4]), (6, [4, 4])):
        shapes.clear()
        assert len(taught(images(count))["logits"]) == count
        assert shapes == wanted


def test_external_weights_need_no_taps_and_are_found_from_another_folder(tmp_path, monkeypatch):
    file = files.write_external(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path.parent)
    np.testing.assert_allclose(network(file)(images(3))["logits"], in_numpy(images(3))["logits"], **CLOSE)


def test_a_mapping_file_gives_the_classes_of_the_recipe_in_its_order(tmp_path):
    (tmp_path / "classes.txt").write_text("4\n0\n2\n")
    wanted = in_numpy(images(6))["logits"][:, [4, 0, 2]]
    given = {"classes": 3, "classes_file": str(tmp_path / "classes.txt")}
    np.testing.assert_allclose(network(write(tmp_path / "m.onnx"), **given)(images(6))["logits"], wanted, **CLOSE)
    file = write(tmp_path / "p.onnx", outputs=("probabilities",))
    logits = network(file, gives="probabilities", **given)(images(6))["logits"]
    np.testing.assert_allclose(softmax(logits), softmax(wanted), **CLOSE)


def test_an_output_of_one_by_one_maps_is_taken_as_classes(tmp_path):
    more = (helper.make_node("Unsqueeze", ["logits", "axes"], ["square"]),)
    file = write(tmp_path / "m.onnx", more=more, arrays={"axes": np.array([2, 3])}, outputs=("square",))
    np.testing.assert_allclose(network(file)(images(2))["logits"], in_numpy(images(2))["logits"], **CLOSE)


def digits():
    """Pixels 0 to 16 [1797, 64] and labels."""
    return load_digits(return_X_y=True)


def test_a_file_of_scikit_learn_gives_the_probabilities_that_scikit_learn_gave(tmp_path):
    """Its exporter writes a classifier of flat values; a grey image of three channels becomes one here."""
    exported = onnx.load(DATA / "sklearn_digits.onnx")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=0),
        helper.make_node("Flatten", ["grey"], ["flat"]),
    ]
    front = helper.make_graph(
        nodes,
        "front",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, ["n", 64])],
    )
    del exported.opset_import[1:]  # it names the standard operators twice
    exported.opset_import.append(helper.make_opsetid("", 17))
    first = helper.make_model(front, opset_imports=exported.opset_import, ir_version=exported.ir_version)
    whole = onnx.compose.merge_models(first, exported, io_map=[("flat", "X")])
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString())
    taught = network(
        tmp_path / "m.onnx",
        classes=10,
        mean=(0.0,) * 3,
        std=(1 / 16,) * 3,
        output="probabilities",
        gives="probabilities",
    )
    pixels = np.repeat(digits()[0][:64].reshape(-1, 1, 8, 8), 3, axis=1).astype("float32")
    wanted = np.load(DATA / "sklearn_digits.npz")["probabilities"]
    np.testing.assert_allclose(np.exp(taught(pixels)["logits"]), wanted, rtol=1e-3, atol=1e-5)


TORCH = NetworkSpec(input=InputSpec(size=16, mean=(0.3,) * 3, std=(0.4,) * 3), gives="logits")


def torch_network(**changed):
    """A ShuffleNetV2 of torchvision, trained on 1,000 digits and written by torch.onnx.export."""
    tree = plain(TORCH) | changed
    return OnnxNetwork(DATA / "torchvision_digits.onnx", parse.build(NetworkSpec, tree, "test"), 10, threads=1)


def test_a_file_of_torchvision_gives_the_logits_that_torch_gave():
    arrays = np.load(DATA / "torchvision_digits.npz")
    given = torch_network(taps={"embedding": "mean"})(arrays["images"])
    np.testing.assert_allclose(given["logits"], arrays["logits"], rtol=1e-4, atol=1e-4)
    assert given["embedding"].shape == (8, 48)


def labelled_batches(mean=0.3, std=0.4):
    """The digits that the network of torchvision did not learn from."""
    pixels, labels = (array[1000:] for array in digits())
    pictures = np.repeat(pixels.reshape(-1, 1, 8, 8) / 16, 3, axis=1).repeat(2, axis=2).repeat(2, axis=3)
    for start in range(0, len(labels), 100):
        yield ((pictures[start : start + 100] - mean) / std).astype("float32"), labels[start : start + 100]


CHECK = AccuracyCheck(images=500)


def test_a_network_that_is_fed_and_read_as_it_was_trained_passes_the_check():
    measured = check_accuracy("own", torch_network(), labelled_batches(), CHECK, "check.images=0")
    assert measured.images == 500
    assert measured.top1 > 85
    assert abs(measured.renamed - measured.top1) < 8


def test_a_network_of_another_class_order_is_refused_and_the_line_says_that_it_is_the_order(tmp_path):
    order = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    (tmp_path / "classes.txt").write_text("".join(f"{index}\n" for index in order))
    wrong = torch_network(classes_file=str(tmp_path / "classes.txt"))
    wanted = (
        r"^teacher own: \d+\.\d top-1 on 500 labelled validation images of 10 classes, about chance; with its classes "
        r"renamed it has (8|9)\d\.\d, so their order is wrong: check classes_file \(check.images=0 skips this check\)$"
    )
    with pytest.raises(RunError, match=wanted):
        check_accuracy("own", wrong, labelled_batches(), CHECK, "check.images=0")


def test_a_network_of_other_images_is_refused_at_chance_level():
    upside_down = ((-batch, labels) for batch, labels in labelled_batches(mean=5.0, std=0.1))
    wanted = r"of 10 classes, about chance; check class order, normalisation and layout \(x skips this check\)$"
    with pytest.raises(RunError, match=wanted):
        check_accuracy("own", torch_network(), upside_down, CHECK, "x")


def test_a_network_below_the_least_top1_of_the_user_is_refused():
    check = AccuracyCheck(images=500, least_top1=99.9)
    with pytest.raises(RunError, match=r"10 classes, below least_top1 99\.9; check class order"):
        check_accuracy("own", torch_network(), labelled_batches(), check, "x")


def test_no_image_is_scored_where_the_check_is_skipped():
    def no_batches():
        raise AssertionError
        yield

    assert check_accuracy("own", torch_network(), no_batches(), AccuracyCheck(images=0), "x") is None


class Said:
    """Names the class that the first value of an image says."""

    classes = 4

    def __call__(self, batch):
        return {"logits": np.eye(4, dtype="float32")[batch[:, 0, 0, 0].astype(int)]}


def named(answers):
    return np.array(answers, "float32").reshape(-1, 1, 1, 1)


def test_images_without_a_label_do_not_count_and_the_count_ends_where_it_should():
    batches = [(named([0, 1, 2]), np.array([0, -1, 3])), (named([1, 1, 1]), np.array([1, 1, 0]))]
    assert accuracy(Said(), batches).top1 == pytest.approx(60)
    short = accuracy(Said(), batches, images=3)
    assert (short.images, short.top1) == (3, pytest.approx(200 / 3))


def test_images_without_any_label_cannot_check_a_network():
    with pytest.raises(RunError, match=r"no validation image has a label to check it with; give labels, or set x$"):
        check_accuracy("own", Said(), [(named([0]), np.array([-1]))], CHECK, "x")


def test_a_network_that_says_one_class_of_everything_is_not_told_to_rename_it():
    labels = np.arange(400) % 4
    measured = accuracy(Said(), [(named([2] * 400), labels)])
    assert measured.top1 == 25
    assert measured.renamed < 40


def test_new_names_of_classes_are_counted_on_images_that_they_were_not_learnt_from():
    class Guesses:
        classes = 1000

        def __call__(self, batch):
            guesses = np.random.default_rng(0).integers(0, 1000, len(batch))
            return {"logits": np.eye(1000, dtype="float32")[guesses]}

    measured = accuracy(Guesses(), [(named([0] * 400), np.arange(400))])
    assert measured.renamed == 0


@pytest.mark.parametrize(("classes", "bound"), [(1000, 0.2), (100, 2), (10, 20), (4, 43.75), (2, 62.5)])
def test_chance_is_twice_the_share_of_a_class_and_can_be_passed_where_there_are_few(classes, bound):
    assert foreign.chance_bound(classes) == pytest.approx(bound)


def test_the_identity_follows_every_file_and_the_spec_but_no_path(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        files.write_external(folder / "m.onnx")
        (folder / "classes.txt").write_text("0\n1\n")

    def identity(folder, **changed):
        given = {"classes": 2, "classes_file": str(folder / "classes.txt")} | changed
        return network(folder / "m.onnx", **given).identity()

    first = identity(folders[0])
    assert first["files"].keys() == {"model", "m.onnx.data"}
    assert json.loads(json.dumps(first)) == first == identity(folders[1])
    assert identity(folders[1], channels="bgr") != first
    (folders[1] / "classes.txt").write_text("1\n0\n")
    assert identity(folders[1]) != first
    (folders[1] / "classes.txt").write_text("0\n1\n")
    data = bytearray((folders[1] / "m.onnx.data").read_bytes())
    data[0] ^= 1
    (folders[1] / "m.onnx.data").write_bytes(data)
    assert identity(folders[1])["files"]["m.onnx.data"] != first["files"]["m.onnx.data"]
    assert identity(folders[1])["files"]["model"] == first["files"]["model"]


def add(operator, inputs, output, **attributes):
    return (helper.make_node(operator, inputs, [output], **attributes),)


NAN = {"offset": np.full(CLASSES, np.nan, "float32")}
ROW = np.ones((1, CLASSES), "float32")
WRONG = {  # what the file is, what the spec says, the line
    "tensor": ({}, {"output": "logit"}, "output: the network has no tensor 'logit'; did you mean 'logits'\\?"),
    "tap": ({}, {"taps": {"e": "embeding"}}, "taps.e: the network has no tensor 'embeding'; did you mean 'embedding'"),
    "tap name": (
        {},
        {"taps": {"logits": "map"}},
        "taps.logits: this name belongs to the scores of the classes; choose",
    ),
    "outputs": (
        {"outputs": ("logits", "probabilities")},
        {},
        r"output: the network has several \(logits, probabilities\); name the one",
    ),
    "rank": ({}, {"output": "map"}, r"output: has shape \[3, 4, 6, 6\]; name the tensor of shape \[batch, classes\]"),
    "classes": ({}, {"classes": 4}, "output: the network has 5 classes, the recipe 4; name the index of each class"),
    "size": ({}, {"size": 10}, r"input.size: 10, but the network takes float32 \[\?, 3, 8, 8\]; set it to 8"),
    "layout": (
        {"layout": "nhwc"},
        {},
        r"input.layout: nchw, but the network takes float32 \[\?, 8, 8, 3\]; set input.layout: nhwc",
    ),
    "other layout": ({}, {"layout": "nhwc"}, "input.layout: nhwc, but .*; set input.layout: nchw"),
    "layout of no shape": (
        {"shape": list("nabc"), "layout": "nhwc"},
        {},
        r"cannot run it on float32 \[3, 3, 8, 8\] .*layout",
    ),
    "channels": ({"shape": ["n", 1, 8, 8]}, {}, "takes images of 1 channels; a teacher sees 3, export one that does"),
    "axes": ({"shape": ["n", 192]}, {}, r"takes float32 \[\?, 192\]; a teacher takes \[batch, 3, S, S\] or"),
    "sides": ({"shape": ["n", 3, 8, 16]}, {}, "the images of a teacher are square, export it so"),
    "type": ({"dtype": "int64"}, {}, r"takes int64 \[\?, 3, 8, 8\]; export it for float32, float16, float64 or uint8"),
    "uint8": ({"dtype": "uint8"}, {}, r"input.mean: .*values from 0 to 255 .*; set mean: \[0, 0, 0\], std: \[0.0039"),
    "no probabilities": (
        {},
        {"gives": "probabilities"},
        "gives: probabilities, but values start at -.* and rows sum to .*; set gives: logits",
    ),
    "no logits": (
        {"outputs": ("probabilities",)},
        {},
        "gives: logits, but each row is positive and sums to 1, .*; set gives: probabilities",
    ),
    "independent": (
        {"more": add("Sigmoid", ["logits"], "s"), "outputs": ("s",)},
        {"gives": "probabilities"},
        "gives: probabilities, but values start at .* and rows sum to",
    ),
    "not finite": ({"arrays": NAN}, {}, "output: is not finite on drawn images; check input.mean and input.std"),
    "probabilities not finite": (
        {"arrays": NAN, "outputs": ("probabilities",)},
        {"gives": "probabilities"},
        "output: is not finite on drawn images; check input.mean and input.std",
    ),
    "tap not finite": (
        {"more": add("Log", ["map"], "log")},
        {"taps": {"log": "log"}},
        "taps.log: is not finite on drawn images; check",
    ),
    "batch": (
        {"more": (*add("ReduceMean", ["logits"], "mean", axes=[0]), *add("Sub", ["logits", "mean"], "rest"))}
        | {"outputs": ("rest",)},
        {},
        "output: what it gives for an image depends on the other images of the batch; export the network in evaluation",
    ),
    "rows": (
        {"more": add("ReduceMean", ["logits"], "mean", axes=[0]), "outputs": ("mean",)},
        {},
        r"output: \[1, 5\] for 3 images; its first axis must be the batch, export",
    ),
    "tap rows": (
        {"more": add("ReduceMean", ["map"], "mean", axes=[0])},
        {"taps": {"mean": "mean"}},
        r"taps.mean: \[1, 4, 6, 6\] for 3 images; its first axis must be the batch",
    ),
    "numbers": (
        {"more": add("ArgMax", ["logits"], "class", axis=1), "outputs": ("class",)},
        {},
        "output: holds int64, no floating-point tensor; name the tensor with the scores",
    ),
    "sequence": (
        {"more": add("SplitToSequence", ["logits"], "list"), "outputs": ("list",)},
        {},
        "output: holds list, no floating-point tensor; name",
    ),
    "opset": ({"opset": 99}, {}, "opset 99 and IR version 8 are newer than ONNX Runtime .* knows; pip install -U onnx"),
    "operator": (
        {"more": add("Twist", ["logits"], "twisted"), "outputs": ("twisted",)},
        {},
        "ONNX Runtime [\\d.]+ has no operator Twist; export with the standard operators of ONNX",
    ),
    "kernel": (
        {
            "more": (
                *add("Cast", ["logits"], "whole", to=7),
                *add("Relu", ["whole"], "r"),
                *add("Cast", ["r"], "f", to=1),
            )
        }
        | {"outputs": ("f",)},
        {},
        "has no operator Relu; export with the standard operators",
    ),
    "std": ({}, {"std": (0.2, 0.2, 0.0)}, r"input\.std\.2: should be a number above 0, at most 1; got 0\.0"),
    "no size": ({}, {"size": 0}, r"input\.size: should be an integer from 1 to 8,192; got 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_line_before_the_first_step(tmp_path, name):
    made, told, wanted = WRONG[name]
    file = write(tmp_path / "m.onnx", **made)
    with pytest.raises((RecipeError, RunError), match=wanted) as raised:
        network(file, **told)
    line = str(raised.value)
    assert line.startswith(f"{file}: ")
    assert "\n" not in line
    assert "; " in line


def test_images_of_another_size_are_refused(tmp_path):
    taught = network(write(tmp_path / "m.onnx", side="side"))
    with pytest.raises(RunError, match=r"images \[2, 3, 9, 9\]; give \[1 or more, 3, 8, 8\]"):
        taught(np.zeros((2, 3, 9, 9), "float32"))
    with pytest.raises(RunError, match=r"images \[0, 3, 8, 8\]; give"):
        taught(images(3)[:0])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read .*; give the path of an ONNX file"),
        (b"hello, world", "is no ONNX file; export the network again"),
        (b"", "holds no ONNX graph; export the network again"),
    ],
)
def test_a_file_that_is_no_onnx_file_is_named(tmp_path, content, line):
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(RunError, match=line):
        network(tmp_path / "m.onnx")


def test_a_network_of_two_inputs_is_refused(tmp_path):
    made = files.model(more=add("Add", ["logits", "second"], "sum"), outputs=("sum",))
    made.graph.input.append(helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, [1, CLASSES]))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(RunError, match=r"has 2 inputs \(x, second\); a teacher is fed images alone"):
        network(tmp_path / "m.onnx")


def test_weights_that_an_old_file_also_lists_as_inputs_are_no_images(tmp_path):
    made = files.model()
    made.graph.input.append(helper.make_tensor_value_info("offset", onnx.TensorProto.FLOAT, [CLASSES]))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    given = network(tmp_path / "m.onnx")(images(2))["logits"]
    np.testing.assert_allclose(given, in_numpy(images(2))["logits"], **CLOSE)


def test_missing_external_weights_are_named(tmp_path):
    file = files.write_external(tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(RunError, match=r"m\.onnx: its weights 'm\.onnx\.data' are not beside it; copy both files"):
        network(file)


def test_external_weights_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "inner").mkdir()
    file = files.write_external(tmp_path / "m.onnx")
    made = onnx.load(file, load_external_data=False)
    for tensor in made.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../m.onnx.data"
    (tmp_path / "inner" / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(RunError, match=r"has weights at '\.\./m\.onnx\.data', outside its folder; export it again"):
        network(tmp_path / "inner" / "m.onnx")


def test_inner_tensors_of_external_weights_need_a_newer_onnx_runtime_than_1_20(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "1.20.1")
    file = files.write_external(tmp_path / "m.onnx")
    with pytest.raises(RunError, match=r"'map' is no output, and ONNX Runtime 1.20.1 gives no inner .*; pip install"):
        network(file, taps={"stage1": "map"})
    network(file)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_what_to_install(tmp_path, monkeypatch, package):
    found = onnx_engine.find_spec
    monkeypatch.setattr(onnx_engine, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(RunError, match=rf"^{package}: not installed, an ONNX teacher needs it; pip install 'ssld\["):
        network(write(tmp_path / "m.onnx"))


def test_a_gpu_that_onnx_runtime_does_not_take_is_an_error_and_not_a_slow_run(tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(RunError, match="does not take GPU 0; install onnxruntime-gpu"):
        OnnxNetwork(write(tmp_path / "m.onnx"), spec(), CLASSES, 1, gpu=0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0\n1\n2\n", "classes.txt: 3 lines, the recipe has 4 classes; write one line for each class"),
        ("0\n1\n2\ncat\n", "classes.txt: line 4: 'cat' is no index; write the place of the class"),
        ("0\n1\n\n2\n", "classes.txt: line 3: '' is no index"),
        ("0\n1\n2\n1.0\n", "classes.txt: line 4: '1.0' is no index"),
        (f"0\n1\n2\n{'9' * 5000}\n", f"classes.txt: line 4: '{'9' * 80}' is no index"),
        (f"0\n1\n2\n{2**70}\n", f"classes.txt: line 4: '{2**70}' is no index"),
        (
            "0\n1\n-1\n2\n",
            "classes.txt: line 3: -1 is negative; every class of the recipe needs a class of the network",
        ),
        (
            "0\n1\n2\n1\n",
            "classes.txt: line 4: repeats the index 1 of line 2; each class of the network stands for one",
        ),
        ("0\n5\n2\n1\n", "classes.txt: line 2: index 5, but the network has 5 classes, counted from 0; name the right"),
    ],
)
def test_a_mapping_file_that_is_wrong_is_named_with_its_line(tmp_path, text, line):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(RecipeError, match=line):
        network(write(tmp_path / "m.onnx"), classes=4, classes_file=str(tmp_path / "classes.txt"))


def test_a_mapping_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none.txt: cannot be read .*; write one index on each of 5 lines"):
        network(write(tmp_path / "m.onnx"), classes_file=str(tmp_path / "none.txt"))


def test_a_recipe_has_to_say_whether_a_network_gives_logits_or_probabilities():
    tree = {"input": {"size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}}
    with pytest.raises(RecipeError, match="gives: this key is required; add it"):
        parse.build(NetworkSpec, tree, "mine.yaml")
    with pytest.raises(RecipeError, match=r"input\.layot: unknown key; did you mean 'layout'"):
        parse.build(NetworkSpec, tree | {"gives": "logits", "input": tree["input"] | {"layot": "nhwc"}}, "mine.yaml")


PAGE = "docs/teachers.md"


@pytest.mark.parametrize(
    ("block", "keys"),
    [
        (NetworkSpec, {"input", "gives", "output", "classes_file", "taps"}),
        (InputSpec, {"size", "mean", "std", "layout", "channels"}),
        (AccuracyCheck, {"images", "least_top1"}),
    ],
)
def test_the_page_explains_every_key_with_its_default(block, keys):
    table = {cells[0].strip("`"): cells for cells in test_docs.rows((ROOT / PAGE).read_text()) if len(cells) == 4}
    fields = {field.name: field for field in dataclasses.fields(block)}
    assert set(fields) == keys
    for name, field in fields.items():
        told = table[name][2]
        assert (yaml.safe_load(told.strip("`")) if told.startswith("`") else told) == test_docs.default(field)


def test_the_block_on_the_page_holds():
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / PAGE).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert parse.build(NetworkSpec, yaml.safe_load(block), PAGE).taps == {"embedding": "/pool/Flatten_output_0"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network of ours, and the folder with its Paddle programs."""
    return toy_export.write_toy(tmp_path_factory.mktemp("toy"))


def program(path, **changed):
    return PaddleProgram(path, spec(size=toy_export.SIZE, **changed), 4, threads=1)


def drawn(count):
    return np.random.default_rng(0).normal(size=(count, 3, toy_export.SIZE, toy_export.SIZE)).astype("float32")


@pytest.mark.parametrize("name", ["model", "model.json", "model2", "model2.pdmodel"])
def test_a_program_of_paddle_gives_what_the_network_gives(exported, name):
    layer, folder = exported
    taught = program(folder / name)
    for count in (1, 5):
        np.testing.assert_allclose(taught(drawn(count))["logits"], toy_export.eager(layer, drawn(count)), **CLOSE)
    assert taught.gives == ("logits",)
    assert taught.identity()["files"].keys() == {"program", "weights"}
    bgr = program(folder / name, channels="bgr")
    np.testing.assert_allclose(bgr(drawn(2))["logits"], toy_export.eager(layer, drawn(2)[:, [2, 1, 0]].copy()), **CLOSE)


def only(folder, exported, *names):
    for name in names:
        shutil.copy(exported[1] / name, folder / name)
    return folder


def test_a_folder_with_one_program_names_it(exported, tmp_path):
    only(tmp_path, exported, "model.json", "model.pdiparams")
    given = program(tmp_path)(drawn(2))["logits"]
    np.testing.assert_allclose(given, toy_export.eager(exported[0], drawn(2)), **CLOSE)


def test_what_does_not_fit_a_program_of_paddle_is_one_line(exported, tmp_path):
    with pytest.raises(RecipeError, match=r"input.layout: nhwc, but the network takes .*; set input.layout: nchw"):
        program(exported[1] / "model", layout="nhwc")
    with pytest.raises(RecipeError, match=r"taps.e: the network has no output 'pool'; its outputs: fetch_name_0"):
        program(exported[1] / "model", taps={"e": "pool"})
    with pytest.raises(RunError, match=r"several programs \(model\.json, model2\.pdmodel\); give the path of one"):
        program(exported[1])
    with pytest.raises(RunError, match=r"no inference program of Paddle; give a folder with NAME\.json or NAME\.pdm"):
        program(tmp_path)
    with pytest.raises(RunError, match="no inference program of Paddle"):
        program(tmp_path / "none")
    only(tmp_path, exported, "model.json")
    with pytest.raises(RunError, match=r"model\.json: its weights model\.pdiparams are not beside it; copy both"):
        program(tmp_path / "model")


def test_a_program_of_paddle_1_is_refused_with_the_way_to_convert_it(tmp_path):
    (tmp_path / "__model__").write_bytes(b"x")
    with pytest.raises(RunError, match="holds a program of Paddle 1; write it again with Paddle 2"):
        program(tmp_path)


def changed_version(file):
    tree = json.loads(file.read_text())
    tree["base_code"]["version"] = 99
    return json.dumps(tree).encode()


def newer_program(file):
    from paddle.base.proto.framework_pb2 import ProgramDesc

    tree = ProgramDesc.FromString(file.read_bytes())
    tree.version.version = 9001002
    return tree.SerializeToString()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("model.json", changed_version, "a program of version 99, PaddlePaddle 3.* reads up to 4; export it again"),
        ("model.json", lambda file: b"{}", "is no program of Paddle 3; export it again"),
        ("model.json", lambda file: b"hello", "is no program of Paddle 3; export it again"),
        ("model2.pdmodel", newer_program, r"a program of Paddle 9\.1\.2, this is PaddlePaddle 3.*; export it again"),
        ("model2.pdmodel", lambda file: b"hello", "is no program of Paddle 2; export it again"),
    ],
)
def test_a_program_that_this_paddle_does_not_read_is_named(exported, tmp_path, name, content, line):
    weights = Path(name).with_suffix(".pdiparams").name
    only(tmp_path, exported, name, weights)
    (tmp_path / name).write_bytes(content(tmp_path / name))
    with pytest.raises(RunError, match=line):
        program(tmp_path)


def test_cut_weights_of_a_program_are_one_line(exported, tmp_path):
    only(tmp_path, exported, "model.json", "model.pdiparams")
    (tmp_path / "model.pdiparams").write_bytes((tmp_path / "model.pdiparams").read_bytes()[:50])
    with pytest.raises(RunError, match=r"cannot load it .*; export it again with this version of Paddle") as raised:
        program(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("title", "number"), [("PaddlePaddle 3.3.1", 3003001), ("X 3.0.0rc1", 3000000), ("X 0.0.0", float("inf"))]
)
def test_a_version_of_paddle_is_a_number_as_programs_note_it(title, number):
    assert paddle_engine._version(title) == number


def test_the_keys_of_a_foreign_network_are_known_without_paddle_and_without_onnx_runtime():
    code = "import sys, ssld.foreign; print({'paddle', 'onnx', 'onnxruntime'}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
