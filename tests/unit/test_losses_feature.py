"""Losses that compare features: what their golden files do not pin, on networks of the zoo and on drawn features."""

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.config.recipe import Data
from ssld.distill.step import Step, shapes, weights_of
from ssld.distill.teacher import TeacherLogits
from ssld.errors import RecipeError, RunError
from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.objective import Objective
from ssld.losses.registry import built_in
from ssld.losses.terms import fitted

N, CLASSES, SIZE = 8, 10, 64
FEATURE = [name for name, cls in built_in().items() if ".feature." in cls.__module__] + ["wkd_l"]
TOKENS = {"vitkd"}  # needs transformers
HELPED = [name for name in FEATURE if name not in {"at", "catkd", "wkd_l"}]
STUDENT = {f"stage{n}": (8 * n, 32 >> n, 32 >> n) for n in range(1, 5)}
TEACHER = {f"stage{n}": (10 * n, 32 >> n, 32 >> n) for n in range(1, 5)}


def of(stages):
    last = stages["stage4"]
    taps = {**stages, **{f"{name}.pre": shape for name, shape in stages.items()}}
    return {**taps, "map": last, "embedding": last[:1], "logits": (CLASSES,)}


SHAPES = {"student": of(STUDENT), "teacher": of(TEACHER)}
PATCHES = {"student": (16, 6), "teacher": (16, 8)}


def about(seed=3, micro=N, shapes=SHAPES):
    return About(
        student=shapes["student"], teacher=shapes["teacher"], classes=CLASSES, images=32,
        labels=np.arange(32) % CLASSES, steps=4, steps_per_epoch=2, micro=micro, world=1, seed=seed,
    )  # fmt: skip


def fitting(tree, shapes=SHAPES):
    """Terms with the taps of networks of these shapes."""
    return fitted(build_terms(tree), shapes["student"], shapes["teacher"])[0]


def layered(name, options=None, **more):
    """(loss, its layers)"""
    paddle.seed(1)
    loss = fitting({name: options or {}})[name].loss
    shapes = SHAPES
    if name in TOKENS:
        shapes = {of: dict.fromkeys(loss.student, shape) for of, shape in PATCHES.items()}
    return loss, loss.helpers(about(shapes=shapes, **more))


def drawn(loss, scale=1.0, rows=N):
    """Outputs of student and teacher, with a gradient for what the student gives, and a batch."""
    rng = np.random.default_rng(0)
    found = {}
    for who, names in (("student", loss.reads.student | {"logits"}), ("teacher", loss.reads.teacher)):
        values = {}
        for name in sorted(names):
            shape = SHAPES[who].get(name, PATCHES[who])
            array = scale * rng.normal(size=(N, *shape)).astype("float32")
            values[name] = paddle.to_tensor(array[:rows], stop_gradient=who == "teacher")
        width = SHAPES[who]["embedding"][0]
        arrays = {"classifier.weight": rng.normal(size=(width, CLASSES)), "classifier.bias": rng.normal(size=CLASSES)}
        for stage, (channels, *_) in (STUDENT if who == "student" else TEACHER).items():
            arrays |= {f"{stage}.norm.weight": rng.normal(size=channels), f"{stage}.norm.bias": np.zeros(channels)}
        weights = {name: paddle.to_tensor(array.astype("float32")) for name, array in arrays.items()}
        found[who] = Outputs(values, weights=weights)
    batch = {"index": paddle.arange(rows), "label": paddle.arange(rows) % CLASSES, "step": 5, "epoch": 3}
    return found["student"], found["teacher"], batch


@pytest.fixture(scope="module")
def stepped():
    """One step of every loss of maps together, at its default options, on two networks of the zoo."""
    names = [name for name in FEATURE if name not in TOKENS]
    paddle.seed(0)
    student = models.create("MobileNetV1_x0_25", num_classes=CLASSES, in_size=SIZE)
    other = models.create("ResNet18_vd", num_classes=CLASSES, in_size=SIZE)
    given = {"student": shapes(student, student.taps, SIZE), "teacher": shapes(other, other.taps, SIZE)}
    given["student"]["logits"] = given["teacher"]["logits"] = (CLASSES,)
    objective = Objective(fitting({"ce": {}, **{name: {} for name in names}}, given))
    data = Data(train=("t.txt",), val="v.txt", size=SIZE)
    teacher = TeacherLogits(other, "batch", data, SIZE, data.mean, data.std, objective.teacher_reads)
    with paddle.utils.unique_name.guard("helper_"):
        helpers = objective.helpers(lambda name: about(shapes=given))
    step = Step(student, objective, helpers)
    image = paddle.to_tensor(np.random.default_rng(1).normal(size=(N, 3, SIZE, SIZE)).astype("float32"))
    label = paddle.arange(N) % CLASSES
    batch = {"image": image, "label": label, "index": paddle.arange(N), "step": 0, "epoch": 1}
    (batch,) = teacher.labelled([batch])
    (loss,), parts, _ = step(batch)
    loss.backward()
    return step, parts, teacher


def test_default_options_run_on_two_networks_of_the_zoo(stepped):
    _, parts, _ = stepped
    values = {name.removeprefix("loss/"): float(value) for name, value in parts.items()}
    assert set(values) == {"ce", *FEATURE} - TOKENS
    assert all(np.isfinite(value) and value != 0 for value in values.values())


@pytest.mark.parametrize("name", [name for name in HELPED if name not in TOKENS])
def test_every_layer_of_a_loss_is_trained(stepped, name):
    step, _, _ = stepped
    for key, parameter in step.helpers[name].named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None, key
            if parameter.ndim > 1:  # a bias in front of a batch norm has a gradient of 0
                assert float(parameter.grad.abs().max()) > 0, key


def test_a_teacher_gets_no_gradient_and_the_student_all(stepped):
    step, _, teacher = stepped
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    trained = [(name, p) for name, p in step.student.named_parameters() if not p.stop_gradient]
    assert all(p.grad is not None for _, p in trained)


def test_layers_of_tokens_are_trained():
    loss, layers = layered("vitkd")
    student, teacher, batch = drawn(loss)
    loss(student, teacher, batch, layers).mean().backward()
    assert all(parameter.grad is not None for parameter in layers.parameters())


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("name", FEATURE)
def test_losses_and_gradients_of_zeros_and_of_large_features_are_finite(name, scale):
    loss, layers = layered(name)
    student, teacher, batch = drawn(loss, scale)
    value = loss(student, teacher, batch, layers)
    value.mean().backward()
    assert value.shape == ([] if loss.coupled else [N])
    assert np.isfinite(value.numpy()).all()
    trained = [*student.values(), *(layers.parameters() if layers is not None else [])]
    gradients = [tensor.grad for tensor in trained if tensor.grad is not None]
    assert gradients
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", FEATURE)
def test_features_and_logits_of_10_000_in_16_bits_have_the_value_of_these_numbers_in_32_bits(name, dtype):
    terms = fitting({name: {}})

    def total(*types):
        _, layers = layered(name)
        student, teacher, batch = drawn(terms[name].loss, 1e4)
        for outputs in (student, teacher):
            for values in (outputs, outputs.weights):
                for key in [*values]:
                    value = values[key].detach()
                    for kind in types:
                        value = value.astype(kind)
                    value.stop_gradient = outputs is teacher
                    values[key] = value
        value, _ = Objective(terms)(student, teacher, batch, {name: layers} if layers is not None else {})
        value.backward()
        read = [student[key] for key in terms[name].loss.reads.student if student[key].grad is not None]
        assert all(np.isfinite(tensor.grad.astype("float32").numpy()).all() for tensor in read)
        return float(value)

    assert np.isfinite(total(dtype))
    assert total(dtype) == pytest.approx(total(dtype, "float32"), rel=1e-6)


@pytest.mark.parametrize("name", ["at", "catkd", "mgd", "paraphrase", "pefd", "vid", "vitkd", "vkd", "wkd_l"])
def test_the_value_of_an_image_does_not_depend_on_the_others(name):
    loss, layers = layered(name)
    whole, part = (loss(*drawn(loss, rows=rows), layers).numpy() for rows in (N, 3))
    np.testing.assert_allclose(part, whole[:3], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["mgd", "vitkd"])
def test_masks_follow_from_seed_step_and_image(name):
    _, layers = layered(name)
    index = paddle.to_tensor([4, 9, 2])
    first = layers.draw(index, 5).numpy()
    assert first.tobytes() == layered(name)[1].draw(index, 5).numpy().tobytes()
    assert first[1:].tobytes() == layers.draw(index[1:], 5).numpy().tobytes()
    for other in (layers.draw(index, 6), layered(name, seed=4)[1].draw(index, 5)):
        assert (first != other.numpy()).all()


def test_the_share_that_is_masked_is_the_one_that_was_asked_for():
    loss, layers = layered("mgd", {"dropped": 0.4})
    numbers = layers.draw(paddle.arange(200), 0).numpy()
    assert abs((numbers < loss.dropped).mean() - 0.4) < 0.02
    loss, layers = layered("vitkd", {"masked": 0.25})
    masked = layers.mask(layers.draw(paddle.arange(5), 0), loss.masked).numpy()
    assert (masked.sum(axis=1) == 4).all()


@pytest.mark.parametrize("widths", [(5, 7), (7, 5), (6, 6)])
def test_the_projection_of_vkd_stays_orthogonal_however_it_is_trained(widths):
    from ssld.losses.layers.vkd import Orthogonal

    paddle.seed(0)
    layer = Orthogonal(*widths)
    layer.free.set_value(paddle.randn(layer.free.shape))
    matrix = layer.matrix()
    np.testing.assert_allclose((matrix.T @ matrix).numpy(), np.eye(min(widths)), atol=1e-5)
    assert layer(paddle.randn([3, widths[0]])).shape == [3, widths[1]]


def test_the_paraphraser_of_factor_transfer_stays_as_it_is():
    loss, layers = layered("ft")
    assert all(parameter.stop_gradient for parameter in layers.paraphraser.parameters())
    student, teacher, batch = drawn(loss)
    loss(student, teacher, batch, layers).mean().backward()
    assert all(parameter.grad is None for parameter in layers.paraphraser.parameters())
    alone = build_terms({"paraphrase": {}})["paraphrase"].loss.helpers(about())
    assert alone.state_dict().keys() == layers.paraphraser.state_dict().keys(), "a stage may hand it on"
    assert all(not parameter.stop_gradient for parameter in alone.parameters())


def test_scores_of_the_teachers_classes_say_what_it_costs_to_move_probability():
    """Only the class whose weights are like those of the teacher's favourite is cheap."""
    loss = build_terms({"wkd_l": {"temperature": 1.0}})["wkd_l"].loss
    rows = np.array([[1, 0], [1, 0.1], [-1, 0], [0, 5]], "float32")  # class 1 is like class 0
    weights = {"classifier.weight": paddle.to_tensor(rows.T)}
    teacher = Outputs({"logits": paddle.to_tensor([[9.0, 0, 0, 0]] * 2)}, weights=weights)
    student = Outputs({"logits": paddle.to_tensor([[0.0, 9, 0, 0], [0.0, 0, 9, 0]])})
    near, far = loss(student, teacher, {"label": paddle.to_tensor([3, 3])}, None).numpy()
    assert 10 * near < far


def test_an_image_without_a_label_counts_nothing_or_stops_the_run():
    student, teacher, batch = drawn(build_terms({"wkd_l": {}})["wkd_l"].loss)
    batch["label"] = paddle.to_tensor([-1] * 4 + [1] * 4)
    half = Objective(build_terms({"wkd_l": {"unlabelled": "ignore"}}))(student, teacher, batch)[0]
    loss = build_terms({"wkd_l": {}})["wkd_l"].loss
    rows = loss(student, teacher, {**batch, "label": batch["label"].clip(min=0)}, None)
    np.testing.assert_allclose(float(half), float(rows[4:].sum()) / N, rtol=1e-5)


def test_fused_maps_have_the_sizes_of_the_teacher():
    from ssld.losses.layers.reviewkd import Review

    layer = Review([(4, 8, 8), (6, 4, 4), (6,)], [(5, 16, 16), (7, 4, 4), (9,)], width=3)
    fused = layer([paddle.randn([2, 4, 8, 8]), paddle.randn([2, 6, 4, 4]), paddle.randn([2, 6, 1, 1])])
    assert [out.shape for out in fused] == [[2, 5, 16, 16], [2, 7, 4, 4], [2, 9, 1, 1]]


@pytest.mark.parametrize(("name", "options"), [("catkd", {}), ("srrl", {})])
def test_a_tap_that_is_not_what_the_classifier_takes_is_refused(name, options):
    loss, layers = layered(name, options)
    student, teacher, batch = drawn(loss)
    wrong = paddle.zeros([7, CLASSES])
    teacher.weights = {**teacher.weights, "classifier.weight": wrong}
    with pytest.raises(RunError, match=r"^classifier: the classifier takes 7 numbers, and the tap has 40; name "):
        loss(student, teacher, batch, layers)


def test_a_convolution_that_makes_logits_is_a_classifier_too():
    loss, _ = layered("catkd")
    student, teacher, batch = drawn(loss)
    linear = loss(student, teacher, batch, None)
    teacher.weights = {"classifier.weight": teacher.weights["classifier.weight"].T.unsqueeze([2, 3])}
    np.testing.assert_allclose(loss(student, teacher, batch, None).numpy(), linear.numpy(), rtol=1e-6)


def test_weights_that_a_network_does_not_hand_over_are_named():
    loss, layers = layered("ofd")
    student, teacher, batch = drawn(loss)
    teacher.weights = {"classifier.weight": teacher.weights["classifier.weight"]}
    objective = Objective(fitting({"ofd": {}}))
    wanted = r"^loss ofd: it reads the weights of 'stage1\.norm', and the teacher hands over classifier\.weight; take "
    with pytest.raises(RunError, match=wanted):
        objective(student, teacher, batch, {"ofd": layers})
    network = models.create("VGG11", num_classes=4, in_size=32)
    with pytest.raises(
        RunError, match=r"^VGG11: a loss reads the weights of its stage1\.norm, .*; use another network or loss$"
    ):
        weights_of(network, ["stage1.norm"])


def test_a_micro_batch_of_another_size_is_refused_where_layers_depend_on_it():
    loss, layers = layered("semckd", micro=4)
    with pytest.raises(RunError, match="8 images in a micro-batch, and its layers take 4; keep the size"):
        loss(*drawn(loss), layers)


def test_margins_of_batch_norms_with_a_scale_of_zero_are_finite():
    from ssld.losses.feature.ofd import margin

    found = margin(paddle.to_tensor([0.0, 0.0, 0.0, 2.0]), paddle.to_tensor([0.0, 3.0, -3.0, 0.0])).numpy()
    np.testing.assert_allclose(found, [0, 0, -3, -2 * np.sqrt(2 / np.pi)], atol=1e-5)


def test_means_and_deviations_in_cells_are_those_of_numpy():
    from ssld.losses.maps import mean_and_deviation

    maps = np.random.default_rng(2).normal(size=(2, 3, 7, 5))
    mean, deviation = (part.numpy() for part in mean_and_deviation(paddle.to_tensor(maps), 2, 1e-5))
    cells = [maps[:, :, rows, columns] for rows in (slice(0, 4), slice(3, 7)) for columns in (slice(0, 3), slice(2, 5))]
    for number, cell in enumerate(cells):
        np.testing.assert_allclose(mean[..., number], cell.mean(axis=(2, 3)))
        np.testing.assert_allclose(deviation[..., number], np.sqrt(cell.var(axis=(2, 3), ddof=1) + 1e-5))
    alone = mean_and_deviation(paddle.to_tensor(maps[:, :, :1, :1]), 1, 1e-5)[1].numpy()
    np.testing.assert_allclose(alone, np.sqrt(1e-5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ofd", {"teacher": ["stage1"] * 4}, "teacher: stage1 is no map before an activation, and only such a map has"),
        ("ofd", {"student": ["stage1.pre"], "teacher": []}, "teacher: 0 taps of the teacher for 1 of the student"),
        ("afd", {"student": []}, "teacher: 0 taps of the student and 0 of the teacher; give one at least"),
        ("vid", {"variance": 0}, "variance: should be a number above 0.0001, at most 1,000,000; got 0"),
        ("ab", {"margin": 0}, "margin: should be a number above 0, at most 1,000,000; got 0"),
        ("reviewkd", {"width": 0}, "width: should be an integer from 1 to 1,000,000; got 0"),
        ("simkd", {"factor": 0}, "factor: should be an integer from 1 to 1,000,000; got 0"),
        ("srrl", {"features": 0, "logits": 0}, "features: features and logits are both 0; give one of them"),
        ("mgd", {"dropped": 1}, "dropped: should be a number from 0, below 1; got 1"),
        ("mgd", {"alpha": 0}, "alpha: should be a number above 0, at most 1,000,000; got 0"),
        ("mgd", {"reduction": "max"}, "reduction: input should be 'sum' or 'mean'; got 'max'"),
        ("pefd", {"projectors": 0}, "projectors: should be an integer from 1 to 1,000,000; got 0"),
        ("catkd", {"size": 0}, "size: should be an integer from 1 to 1,000,000; got 0"),
        ("srd", {"exponent": 0.5}, "exponent: should be a number from 1 to 1,000; got 0.5"),
        ("afd", {"width": 0}, "width: should be an integer from 1 to 1,000,000; got 0"),
        ("wkd_f", {"mean": 0, "deviation": 0}, "mean: mean and deviation are both 0; give one of them"),
        ("wkd_f", {"grid": 0}, "grid: should be an integer from 1 to 1,000,000; got 0"),
        ("wkd_l", {"temperature": 0}, "temperature: should be a number above 0, at most 1,000,000; got 0"),
        ("wkd_l", {"rounds": 0}, "rounds: should be an integer from 1 to 1,000,000; got 0"),
        ("wkd_l", {"gamma": -1}, "gamma: should be a number from 0 to 1,000,000,000; got -1"),
        ("ft", {"rate": 0}, "rate: should be a number above 0, at most 1; got 0"),
        ("paraphrase", {"rate": 2}, "rate: should be a number above 0, at most 1; got 2"),
        ("semckd", {"reduction": 0}, "reduction: should be an integer from 1 to 1,000,000; got 0"),
        ("vitkd", {"student": ["block1"]}, "student: there is only one tap"),
        ("vitkd", {"masked": 1}, "masked: should be a number above 0, below 1; got 1"),
        ("vitkd", {"mimic": 0, "generate": 0}, "mimic: mimic and generate are both 0; give one of them"),
    ],
)
def test_options_that_make_no_sense_are_refused(name, options, message):
    with pytest.raises(RecipeError, match=rf"^\.{name}\.{message}"):
        build_terms({name: options})


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((4,), (5, 8, 8), r"^loss simkd: a tap of shape \(4,\) is no map"),
        ((4, 8, 8), (5,), r"^loss simkd: a tap of shape \(5,\) is no map"),
    ],
)
def test_vectors_where_a_loss_needs_maps_are_refused(student, teacher, message):
    given = {"student": {"map": student}, "teacher": {"map": teacher}}
    with pytest.raises(RecipeError, match=message):
        Objective(build_terms({"simkd": {}})).helpers(lambda name: about(shapes=given))


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ([(8, 6)] * 3, [(9, 6)] * 3, "differ in their tokens"),
        ([(8, 6)] * 3, [(8, 6)] * 3, "8 tokens are no square map; name a tap without the class token"),
        ([(4, 6)] * 3, [(4, 6), (4, 6), (6, 4, 4)], "holds no tokens"),
    ],
)
def test_tokens_that_are_no_square_map_are_refused(student, teacher, message):
    from ssld.losses.layers.vitkd import Tokens

    with pytest.raises(RecipeError, match=message):
        Tokens(student, teacher, seed=0)
