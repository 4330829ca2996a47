"""Losses that compare images with each other: what the golden files do not pin."""

import math

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.distill.step import outputs_of
from ssld.errors import RecipeError
from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.functions import unit
from ssld.losses.objective import Objective
from ssld.losses.terms import fitted

CLASSES, IMAGES = 7, 6
KINDS = ["sp", "rkd", "pkt", "nst", "cc", "ickd", "itrd", "fsp", "skd_streamlined", "sskd"]
FORMS = {"cc": [{"form": "gaussian"}, {"form": "bilinear"}], "ickd": [{"kernel": 3, "batch_again": True}]}
CASES = [(kind, options) for kind in KINDS for options in [{}, *FORMS.get(kind, [])]]
OF_PAIRS = ["sp", "rkd", "pkt", "cc", "itrd", "skd_streamlined"]
STAGES = ("stage1", "stage2", "stage3", "stage4")
SHAPES = {name: (8, 4, 4) for name in STAGES} | {"map": (8, 4, 4), "embedding": (8,), "logits": (CLASSES,)}
WIDER = {"map": (12, 2, 2), "embedding": (12,), "stage4": (12, 2, 2)}


def about(student, teacher, **more):
    given = {"classes": CLASSES, "images": 40, "labels": np.arange(40) % CLASSES, "steps": 4, "steps_per_epoch": 2}
    return About(student=student, teacher=teacher, **{**given, "micro": IMAGES, "world": 1, "seed": 0, **more})


def shapes_of(outputs):
    return {name: tuple(value.shape[1:]) for name, value in outputs.items()}


def fitting(tree, student, teacher):
    """Terms with the taps that these outputs have."""
    return fitted(build_terms(tree), shapes_of(student), shapes_of(teacher))[0]


def computed(kind, options, student, teacher, more=None):
    """The term, its layers and its value of these outputs."""
    objective = Objective(fitting({kind: options}, student, teacher))
    helpers = objective.helpers(lambda name: about(shapes_of(student), shapes_of(teacher), **(more or {})))
    rows = student["logits"].shape[0]
    batch = {"label": paddle.to_tensor(np.arange(rows // 4 if kind == "sskd" else rows) % CLASSES)}
    return helpers, objective(Outputs(student), Outputs(teacher), batch, helpers)[0]


def drawn(shapes, rows, seed, scale=1.0, gradient=False):
    draw = np.random.default_rng(seed)
    arrays = {name: scale * draw.normal(size=(rows, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return {name: paddle.to_tensor(value, stop_gradient=not gradient) for name, value in arrays.items()}


@pytest.fixture(scope="module")
def networks():
    """A student, a teacher that is wider, and images for both."""
    paddle.seed(3)
    made = [models.create(f"MobileNetV3_small_{width}", num_classes=CLASSES, in_size=32) for width in ("x0_35", "x0_5")]
    images = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    return *made, paddle.to_tensor(images)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_term_reaches_the_student_and_every_layer_of_its_own(kind, options, networks):
    student, teacher, images = networks
    teacher = student if kind == "fsp" else teacher  # it needs equal channels
    with paddle.no_grad():
        known = dict(outputs_of(teacher, images * 0.5, teacher.taps))
    own = dict(outputs_of(student, images, student.taps))
    terms = fitting({kind: options}, own, known)
    helpers, total = computed(kind, options, own, known)
    total.backward()
    assert math.isfinite(float(total))
    batch = {"label": paddle.arange(2 if kind == "sskd" else 8) % CLASSES}
    value = terms[kind].loss(Outputs(own), Outputs(known), batch, helpers.get(kind))
    assert (value.ndim == 0) == terms[kind].loss.coupled
    for layer in helpers.values():
        for name, parameter in layer.named_parameters():
            if not parameter.stop_gradient:
                assert parameter.grad is not None, name
                assert np.isfinite(parameter.grad.numpy()).all(), name
                assert np.abs(parameter.grad.numpy()).max() > 0, name
    first = next(iter(student.parameters()))
    assert np.abs(first.grad.numpy()).max() > 0
    student.clear_gradients()


@pytest.mark.parametrize(("kind", "options"), CASES)
@pytest.mark.parametrize("what", ["large", "float16", "bfloat16", "nothing", "equal"])
def test_values_and_gradients_are_finite_for_logits_of_10_000_for_dead_features_and_for_equal_images(
    kind, options, what
):
    wide = SHAPES if kind == "fsp" else SHAPES | WIDER
    own, known = (drawn(shapes, 8, seed, gradient=seed == 0) for seed, shapes in enumerate((SHAPES, wide)))
    if what == "large":
        own["logits"], known["logits"] = (x["logits"].detach() * 1e4 for x in (own, known))
        own["logits"].stop_gradient = False
    if "16" in what:  # the gradient of a fourth power of 10,000 is beyond float16, so features are smaller
        scales = {"logits": 1e4}
        own, known = ({n: (scales.get(n, 100) * v).detach().astype(what) for n, v in x.items()} for x in (own, known))
    if what == "nothing":  # every unit of both networks is dead
        own, known = ({n: paddle.zeros_like(v) for n, v in x.items()} for x in (own, known))
    if what == "equal":
        own, known = ({n: paddle.zeros_like(v) + v[:1].detach() for n, v in x.items()} for x in (own, known))
    for value in own.values():
        value.stop_gradient = False
    _, total = computed(kind, options, own, known)
    total.backward()
    assert math.isfinite(float(total))
    reached = [value.grad.numpy() for value in own.values() if value.grad is not None]
    assert reached
    assert all(np.isfinite(gradient).all() and np.abs(gradient).max() < 1e9 for gradient in reached)


@pytest.mark.parametrize("kind", ["sp", "rkd", "pkt", "nst", "fsp", "skd_streamlined"])
def test_a_loss_without_layers_is_0_where_both_networks_agree(kind):
    outputs = drawn(SHAPES, 8, 0)
    assert float(computed(kind, {}, outputs, outputs)[1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", OF_PAIRS)
def test_a_loss_of_pairs_refuses_micro_batches_of_one_image(kind):
    with pytest.raises(RecipeError, match=r"a rank has 1 in one; raise data\.batch, or lower optim\.accumulate"):
        Objective(build_terms({kind: {}})).helpers(lambda name: about(SHAPES, SHAPES, micro=1))


@pytest.mark.parametrize("size", [(8, 4, 4), (8, 2, 2)])  # more places than channels, and fewer
def test_nst_is_the_discrepancy_of_all_pairs_of_channels(size):
    draw = np.random.default_rng(2)
    maps = [draw.normal(size=(2, channels, *size[1:])) for channels in (size[0], 11)]
    own, known = ({"logits": paddle.zeros([2, 3]), "stage1": paddle.to_tensor(array)} for array in maps)
    _, total = computed("nst", {"student": ["stage1"]}, own, known)

    def kernel(a, b):
        pairs = [[(x / np.linalg.norm(x) * (y / np.linalg.norm(y))).sum() ** 2 for y in b] for x in a]
        return np.mean(pairs)

    wanted = [kernel(a, a) + kernel(b, b) - 2 * kernel(a, b) for a, b in zip(*maps, strict=True)]
    assert float(total) == pytest.approx(np.mean(wanted), rel=1e-9)


def test_rkd_divides_by_the_mean_of_the_distances_between_different_images():
    student = {"logits": paddle.zeros([3, 2]), "embedding": paddle.to_tensor([[0.0], [3.0], [6.0]])}
    teacher = {"embedding": paddle.to_tensor([[0.0, 0.0], [0.0, 5.0], [5.0, 0.0]])}
    _, total = computed("rkd", {"distance": 1.0, "angle": 0.0}, student, teacher)
    d_s = np.array([3, 6, 3]) / 4
    d_t = np.array([5, 5, 50**0.5])
    gap = d_s - d_t / d_t.mean()
    assert float(total) == pytest.approx(2 * (0.5 * gap**2).sum() / 9, rel=1e-6)


def test_rkd_in_float32_is_the_formula_for_images_far_from_zero_and_near_each_other():
    """Distances of 0.1 between vectors of length 100, and two images that are the same."""
    draw = np.random.default_rng(4)
    arrays = [(20 + 0.1 * draw.normal(size=(6, width))).astype(np.float32) for width in (24, 30)]
    arrays[0][5] = arrays[0][0]
    own, known = ({"logits": paddle.zeros([6, 2]), "embedding": paddle.to_tensor(array)} for array in arrays)

    def relations(f):
        e = f[None] - f[:, None]  # at (j, i)
        d = np.linalg.norm(e, axis=2)
        unit = e / np.maximum(d, 1e-12)[:, :, None]
        return d / d[~np.eye(6, dtype=bool)].mean(), unit @ unit.transpose(0, 2, 1)

    gaps = [s - t for s, t in zip(*(relations(array.astype(np.float64)) for array in arrays), strict=True)]
    h = [np.where(abs(gap) < 1, gap**2 / 2, abs(gap) - 0.5).mean() for gap in gaps]
    for part, wanted in zip(("distance", "angle"), h, strict=True):
        options = {"distance": 0.0, "angle": 0.0} | {part: 1.0}
        assert float(computed("rkd", options, own, known)[1]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("sizes", [(2, 3), (5, 2)])  # fewer places than channels, and more
def test_ickd_is_the_gap_of_the_inner_products_of_all_pairs_of_channels(sizes):
    student, teacher = ((8, size, size) for size in sizes)
    own, known = drawn({"map": student, "logits": (3,)}, 4, 0), drawn({"map": teacher}, 4, 1)
    helpers, total = computed("ickd", {}, own, known)

    def correlation(features):
        rows = features.astype(np.float64).reshape(4, 8, -1)
        g = rows @ rows.transpose(0, 2, 1)
        return g / np.linalg.norm(g, axis=2, keepdims=True)

    gap = correlation(helpers["ickd"](own["map"]).numpy()) - correlation(known["map"].numpy())
    assert float(total) == pytest.approx((gap**2).sum() / (8 * 4), rel=1e-5)


def test_sskd_keeps_what_the_teacher_gets_right_and_the_least_wrong_of_the_rest():
    from ssld.losses.contrast.sskd import _kept

    scores = paddle.to_tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]])
    truth = paddle.to_tensor([2, 0, 1, 1, 2])  # ranks 2, 0, 1, 1, 2
    values = paddle.to_tensor([1.0, 10, 100, 1000, 10000])
    for share, rows in ((0.0, [10]), (0.25, [10, 100]), (0.5, [10, 100, 1000]), (0.75, [1, 10, 100, 1000])):
        assert float(_kept(values, scores, truth, share)) == pytest.approx(np.mean(rows))


def test_the_head_of_the_teacher_learns_from_the_contrast_alone():
    own, known = drawn(SHAPES, 8, 0, gradient=True), drawn(SHAPES | WIDER, 8, 1)
    helpers, total = computed("sskd", {}, own, known)
    total.backward()
    gradients = [parameter.grad.numpy() for parameter in helpers["sskd"].teacher.parameters()]
    terms = build_terms({"sskd": {"ss": 0.0, "tf": 0.0, "kl": 0.0}})
    for parameter in helpers["sskd"].parameters():
        parameter.clear_gradient(set_to_zero=False)
    Objective(terms)(Outputs(own), Outputs(known), {"label": paddle.to_tensor([0, 1])}, helpers)[0].backward()
    for before, parameter in zip(gradients, helpers["sskd"].teacher.parameters(), strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), before, rtol=1e-6)


def test_without_contrast_the_teacher_has_no_head():
    layers = build_terms({"sskd": {"contrast": 0.0}})["sskd"].loss.helpers(about(SHAPES, SHAPES))
    assert layers.student.parameters()
    assert not layers.teacher.parameters()


def test_sskd_wants_four_rows_for_each_image():
    outputs = drawn(SHAPES, 6, 0)
    with pytest.raises(RecipeError, match="6 rows of outputs for 1 images; it needs 4 for each, the plain one first"):
        computed("sskd", {}, outputs, outputs)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("rkd", {"distance": 0.0, "angle": 0.0}, r"\.rkd\.distance: distance and angle are both 0; give"),
        ("rkd", {"angle": -1.0}, "angle: should be a number from 0 to 1,000,000,000; got -1"),
        ("cc", {"form": "cubic"}, "form: .*; got 'cubic'"),
        ("cc", {"width": 0}, r"\.cc\.width: should be an integer from 1 to 1,000,000; got 0"),
        ("cc", {"gamma": 0.0}, r"\.cc\.gamma: should be a number above 0, at most 1,000,000; got 0\.0"),
        ("ickd", {"kernel": 2}, "kernel: .*; got 2"),
        ("itrd", {"alpha": 0.0}, r"\.itrd\.alpha: should be a number above 0, at most 1,000,000; got 0\.0"),
        (
            "itrd",
            {"correlation": 0.0, "mutual": 0.0},
            "correlation and mutual are both 0; give one",
        ),
        ("fsp", {"student": ["stage1"]}, "give two or more"),
        ("nst", {"student": ["stage1"], "teacher": ["stage1", "stage2"]}, "2 taps of the teacher for 1 of the student"),
        ("skd_streamlined", {"ridge": 0.0}, r"ridge: should be a number above 0, at most 1,000,000; got 0\.0"),
        ("sskd", {"keep_ss": 1.5}, r"keep_ss: should be a number from 0 to 1; got 1\.5"),
        ("sskd", {"temperature_ss": 0.0}, r"temperature_ss: should be a number above 0, at most 1,000,000; got 0\.0"),
        ("sskd", {"ss": -1.0}, "ss: should be a number from 0 to 1,000,000,000; got -1"),
    ],
)
def test_options_that_make_no_loss_are_refused(kind, options, message):
    with pytest.raises(RecipeError, match=message):
        build_terms({kind: options})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("ickd", r"^loss ickd: shapes \(8,\) and \(8, 4, 4\) are no maps"),
        (
            "fsp",
            r"^loss fsp: stage4 of the student is \(8, 4, 4\) and stage4 of the teacher \(12, 2, 2\); it needs maps ",
        ),
    ],
)
def test_taps_that_a_loss_cannot_compare_are_refused(kind, message):
    student, teacher = SHAPES | {"map": (8,)}, SHAPES | {"stage4": (12, 2, 2)}
    terms, _ = fitted(build_terms({kind: {}}), student, teacher)
    with pytest.raises(RecipeError, match=message):
        Objective(terms).helpers(lambda name: about(student, teacher))


def test_a_vector_of_no_length_has_no_direction_and_no_gradient():
    x = paddle.to_tensor([[3.0, 4.0], [0.0, 0.0]], stop_gradient=False)
    y = unit(x)
    np.testing.assert_allclose(y.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0.032, -0.024], [0, 0]], atol=1e-7)


def test_layers_of_these_losses_keep_their_state():
    """State of a layer goes into a checkpoint: what is read from one gives the same loss."""
    own, known = drawn(SHAPES, 8, 0), drawn(SHAPES | WIDER, 8, 1)
    for kind in ("cc", "ickd", "itrd", "sskd"):
        objective = Objective(build_terms({kind: {}}))
        made = [objective.helpers(lambda name: about(SHAPES, SHAPES | WIDER))[kind] for _ in range(2)]
        assert isinstance(made[0], nn.Layer)
        batch = {"label": paddle.to_tensor([0, 1] if kind == "sskd" else np.arange(8) % CLASSES)}
        values = [float(objective(Outputs(own), Outputs(known), batch, {kind: layer})[0]) for layer in made]
        assert values[0] != values[1]
        for key, value in made[1].state_dict().items():
            value.set_value(made[0].state_dict()[key].numpy())
        again = float(objective(Outputs(own), Outputs(known), batch, {kind: made[1]})[0])
        assert again == float(objective(Outputs(own), Outputs(known), batch, {kind: made[0]})[0])
