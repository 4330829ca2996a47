"""Losses against the textbook formulas, written in NumPy in float64, and against numbers worked out by hand."""

import math

import numpy as np
import paddle
import pytest

from ssld.errors import DataError
from ssld.interfaces import Outputs
from ssld.losses import build_terms, objective

LABEL = np.array([3, 0, 9, 5])
LABEL_B = np.array([1, 0, 2, 9])
LAM = 0.3


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def kl(p, log_p, log_q):
    return (p * (log_p - log_q)).sum(-1).mean()


def ssld(s, t):
    return 0.5 * (kl(softmax(t), log_softmax(t), log_softmax(s)) + kl(softmax(s), log_softmax(s), log_softmax(t)))


def js(s, t):
    log_m = np.logaddexp(log_softmax(s), log_softmax(t)) - math.log(2)
    return 0.5 * (kl(softmax(t), log_softmax(t), log_m) + kl(softmax(s), log_softmax(s), log_m))


def kl_at(temperature):
    return lambda s, t: (
        temperature**2 * kl(softmax(t / temperature), log_softmax(t / temperature), log_softmax(s / temperature))
    )


def soft_ce(s, t):
    return -(softmax(t) * log_softmax(s)).sum(-1).mean()


def ce(smoothing=0.0, mixed=False):
    def truth(label, classes):
        return (1 - smoothing) * np.eye(classes)[label] + smoothing / classes

    def formula(s, t):
        target = truth(LABEL, s.shape[-1])
        if mixed:
            target = LAM * target + (1 - LAM) * truth(LABEL_B, s.shape[-1])
        return -(target * log_softmax(s)).sum(-1).mean()

    return formula


MIXED = {"label": LABEL, "label_b": LABEL_B, "lam": LAM}
CASES = [
    pytest.param("ssld", {}, {}, ssld, id="ssld"),
    pytest.param("js", {}, {}, js, id="js"),
    pytest.param("kl", {}, {}, kl_at(1.0), id="kl"),
    pytest.param("kl", {"temperature": 4.0}, {}, kl_at(4.0), id="kl-at-4"),
    pytest.param("soft_ce", {}, {}, soft_ce, id="soft_ce"),
    pytest.param("ce", {}, {"label": LABEL}, ce(), id="ce"),
    pytest.param("ce", {"smoothing": 0.1}, {"label": LABEL}, ce(0.1), id="ce-smoothed"),
    pytest.param("ce", {"smoothing": 0.1}, MIXED, ce(0.1, mixed=True), id="ce-smoothed-mixed"),
]


@pytest.fixture
def logits():
    """Student and teacher, [4, 10] each, float64."""
    return np.random.default_rng(0).normal(scale=2.0, size=(2, 4, 10))


def tensors(batch):
    return {key: paddle.to_tensor(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()}


def summed(terms, student, teacher, batch):
    """(total, parts) of an objective on logits."""
    outputs = Outputs({"logits": student}), Outputs({"logits": teacher})
    return objective.Objective(build_terms(terms))(*outputs, tensors(batch or {}))


def value(name, student, teacher, batch=None, dtype="float32", **options):
    student, teacher = paddle.to_tensor(student, dtype=dtype), paddle.to_tensor(teacher, dtype=dtype)
    return float(summed({name: options}, student, teacher, batch)[0])


def gradient(name, student, teacher, batch=None, dtype="float64", **options):
    student = paddle.to_tensor(student, dtype=dtype, stop_gradient=False)
    teacher = paddle.to_tensor(teacher, dtype=dtype, stop_gradient=False)
    summed({name: options}, student, teacher, batch)[0].backward()
    assert teacher.grad is None, "a loss must not push gradients into the teacher"
    return student.grad.astype("float64").numpy()


def central_differences(formula, student, teacher, step=1e-5):
    result = np.zeros_like(student)
    for place in np.ndindex(*student.shape):
        up, down = student.copy(), student.copy()
        up[place] += step
        down[place] -= step
        result[place] = (formula(up, teacher) - formula(down, teacher)) / (2 * step)
    return result


@pytest.mark.parametrize(("name", "options", "batch", "formula"), CASES)
def test_value_is_the_formula(name, options, batch, formula, logits):
    expected = formula(*logits)
    assert value(name, *logits, batch, dtype="float32", **options) == pytest.approx(expected, rel=2e-6)
    assert value(name, *logits, batch, dtype="float64", **options) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("name", "options", "batch", "formula"), CASES)
def test_gradient_is_the_slope_of_the_formula(name, options, batch, formula, logits):
    expected = central_differences(formula, *logits)
    np.testing.assert_allclose(gradient(name, *logits, batch, **options), expected, atol=1e-8)
    np.testing.assert_allclose(gradient(name, *logits, batch, dtype="float32", **options), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "options", "batch", "formula"), CASES)
def test_16_bit_logits_are_computed_in_32_bits(name, options, batch, formula, dtype, logits):
    student, teacher = (paddle.to_tensor(z).astype(dtype).astype("float64").numpy() for z in logits)
    found = value(name, student, teacher, batch, dtype=dtype, **options)
    assert found == pytest.approx(formula(student, teacher), rel=2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(paddle.device.cuda.device_count() == 0, reason="no CUDA device: automatic mixed precision is off")
@pytest.mark.parametrize("level", ["O1", "O2"])
@pytest.mark.parametrize(("name", "options", "batch", "formula"), CASES)
def test_mixed_precision_leaves_the_value_alone(name, options, batch, formula, level, logits):
    student, teacher = (paddle.to_tensor(z, dtype="float32") for z in logits)
    with paddle.amp.auto_cast(level=level, dtype="float16"):
        total, _ = summed({name: options}, student, teacher, batch)
    assert float(total) == pytest.approx(formula(*logits), rel=2e-6)


@pytest.mark.parametrize(("name", "options", "batch", "formula"), CASES)
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_saturated_logits_give_the_true_value_and_finite_gradients(name, options, batch, formula, scale, logits):
    student, teacher = (logits / np.abs(logits).max() * scale).astype("float32").astype("float64")
    assert value(name, student, teacher, batch, **options) == pytest.approx(formula(student, teacher), rel=1e-5)
    assert np.isfinite(gradient(name, student, teacher, batch, dtype="float32", **options)).all()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("ssld", {}, 0.125 * math.log(3)),
        ("kl", {}, 0.5 * math.log(4 / 3)),
        ("js", {}, 0.033822075568605),
        ("soft_ce", {}, 0.5 * math.log(4 / 3) + math.log(2)),
        ("ce", {}, math.log(4)),
        ("ce", {"smoothing": 0.1}, 0.9 * math.log(4) + 0.05 * math.log(16 / 3)),
    ],
)
def test_golden_numbers_for_a_teacher_at_one_half_and_a_student_at_three_quarters(name, options, expected):
    student, teacher = np.log([[0.75, 0.25]]), np.log([[0.5, 0.5]])
    found = value(name, student, teacher, {"label": np.array([1])}, dtype="float64", **options)
    assert found == pytest.approx(expected, rel=1e-12)


def test_ssld_is_what_the_published_code_computes(logits):
    s, t = (softmax(z) + 1e-12 for z in logits)
    each = (t * np.log(t / s) + s * np.log(s / t)) / 2  # per class; the published code averages, then times classes
    assert value("ssld", *logits) == pytest.approx(each.mean() * each.shape[-1], rel=2e-6)


def test_ssld_is_not_the_jensen_shannon_divergence(logits):
    assert value("ssld", *logits) > 1.5 * value("js", *logits)


@pytest.mark.parametrize("name", ["ssld", "js"])
def test_the_symmetric_losses_are_symmetric_and_kl_is_not(name, logits):
    assert value(name, *logits) == pytest.approx(value(name, *logits[::-1]), rel=1e-6)
    assert value("kl", *logits) != pytest.approx(value("kl", *logits[::-1]), rel=1e-2)


@pytest.mark.parametrize("name", ["ssld", "js", "kl"])
def test_a_divergence_is_zero_with_zero_gradient_for_equal_logits_and_ignores_a_shift(name, logits):
    student = logits[0]
    assert value(name, student, student + 7.0) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(gradient(name, student, student), 0, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_js_stays_under_log_2(scale, logits):
    assert 0 <= value("js", *(logits * scale)) <= math.log(2) + 1e-6


def test_kl_keeps_the_size_of_its_gradient_over_temperatures(logits):
    sizes = [np.abs(gradient("kl", *logits, temperature=t)).mean() for t in (4.0, 16.0, 64.0)]
    assert max(sizes) < 2 * min(sizes)


def test_soft_ce_has_the_gradient_of_kl(logits):
    np.testing.assert_allclose(gradient("soft_ce", *logits), gradient("kl", *logits), atol=1e-12)


def test_ce_of_a_mixed_batch_takes_a_share_for_each_row_too(logits):
    share = np.array([0.0, 1.0, 0.25, 0.5])
    batch = {"label": LABEL, "label_b": LABEL_B}
    rows = [value("ce", logits[0][i : i + 1], logits[1], {"label": LABEL[i : i + 1]}, "float64") for i in range(4)]
    rows_b = [value("ce", logits[0][i : i + 1], logits[1], {"label": LABEL_B[i : i + 1]}, "float64") for i in range(4)]
    expected = np.mean(share * rows + (1 - share) * rows_b)
    assert value("ce", *logits, {**batch, "lam": share}, dtype="float64") == pytest.approx(expected, rel=1e-12)


def test_ce_refuses_an_unlabelled_image_by_name(logits):
    batch = {"label": np.array([3, -1, 9, 5]), "index": np.array([40, 41, 42, 43])}
    with pytest.raises(DataError, match=r"^image 41: has no label; .*unlabelled: ignore or teacher_argmax$"):
        value("ce", *logits, batch)


def test_ce_refuses_a_label_out_of_range(logits):
    with pytest.raises(DataError, match=r"row 2 of the batch: label 10 is not in 0\.\.9"):
        value("ce", *logits, {"label": np.array([3, 0, 10, 5])})
    with pytest.raises(DataError, match="label -2 is not in"):
        value("ce", *logits, {"label": np.array([3, 0, -2, 5])}, unlabelled="ignore")


def test_rows_that_ce_ignores_count_0_and_the_mean_is_over_all_rows(logits):
    """So the value does not depend on how rows are shared out among ranks and micro-batches."""
    keep = [0, 2]
    batch = {"label": np.array([3, -1, 9, -1])}
    expected = value("ce", logits[0][keep], logits[1][keep], {"label": LABEL[keep]}, dtype="float64") * 2 / 4
    assert value("ce", *logits, batch, dtype="float64", unlabelled="ignore") == pytest.approx(expected, rel=1e-12)
    slope = gradient("ce", *logits, batch, unlabelled="ignore")
    assert not slope[[1, 3]].any()
    assert slope[keep].any(axis=-1).all()


def test_ce_ignores_a_mixed_row_when_either_half_is_unlabelled(logits):
    batch = {"label": np.array([3, -1, 9, 5]), "label_b": np.array([1, 0, -1, 9]), "lam": LAM}
    keep = [0, 3]
    known = {"label": LABEL[keep], "label_b": LABEL_B[keep], "lam": LAM}
    expected = value("ce", logits[0][keep], logits[1][keep], known, dtype="float64") * 2 / 4
    assert value("ce", *logits, batch, dtype="float64", unlabelled="ignore") == pytest.approx(expected, rel=1e-12)


def test_ce_of_a_batch_without_any_label_is_zero_when_told_to_ignore(logits):
    batch = {"label": np.full(4, -1)}
    assert value("ce", *logits, batch, unlabelled="ignore") == 0
    assert not gradient("ce", *logits, batch, unlabelled="ignore").any()


def test_ce_on_a_device_that_cannot_be_asked_turns_infinite_for_an_unlabelled_row(logits, monkeypatch):
    monkeypatch.setattr(objective, "_check", lambda *asked: None)  # what happens on a GPU
    batch = {"label": np.array([3, -1, 9, 5])}
    assert value("ce", *logits, batch) == math.inf
    assert np.isnan(gradient("ce", *logits, batch)).any()
    assert value("ce", *logits, {"label": LABEL}) == pytest.approx(ce()(*logits), rel=2e-6)


def test_objective_is_the_weighted_sum_and_logs_unweighted_parts(logits):
    student, teacher = (paddle.to_tensor(z, stop_gradient=False) for z in logits)
    terms = {"ssld": {"weight": 2.0}, "ce": {"weight": 0.5, "smoothing": 0.1}, "soft": {"kind": "kl"}}
    total, parts = summed(terms, student, teacher, {"label": LABEL})
    expected = {"loss/ssld": ssld(*logits), "loss/ce": ce(0.1)(*logits), "loss/soft": kl_at(1.0)(*logits)}
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(expected, rel=1e-8)
    assert all(part.stop_gradient for part in parts.values())
    wanted = 2 * expected["loss/ssld"] + 0.5 * expected["loss/ce"] + expected["loss/soft"]
    assert float(total) == pytest.approx(wanted, rel=1e-8)
    total.backward()
    slope = central_differences(lambda s, t: 2 * ssld(s, t) + 0.5 * ce(0.1)(s, t) + kl_at(1.0)(s, t), *logits)
    np.testing.assert_allclose(student.grad.numpy(), slope, atol=1e-8)


def test_one_loss_may_stand_in_several_terms(logits):
    terms = {"warm": {"kind": "kl", "temperature": 4.0}, "cold": {"kind": "kl", "weight": 3.0}}
    total, parts = summed(terms, *map(paddle.to_tensor, logits), {})
    assert parts.keys() == {"loss/warm", "loss/cold"}
    assert float(total) == pytest.approx(kl_at(4.0)(*logits) + 3 * kl_at(1.0)(*logits), rel=1e-8)


def test_the_weight_of_a_single_term_counts(logits):
    student, teacher = map(paddle.to_tensor, logits)
    total, parts = summed({"ssld": {"weight": 3.0}}, student, teacher, {})
    assert total.shape == []
    assert float(total) == pytest.approx(3 * float(parts["loss/ssld"]))


def test_a_weight_that_changes_is_a_closed_form_of_the_step_and_is_logged(logits):
    student, teacher = (Outputs({"logits": paddle.to_tensor(z)}) for z in logits)
    ramp = {"at": [[0, 0.0], [2, 1.0]], "per": "step"}
    asked = objective.Objective(build_terms({"kl": {"weight": ramp}}), steps_per_epoch=4)
    for step, weight in ((0, 0.0), (1, 0.125), (4, 0.5), (8, 1.0), (100, 1.0)):
        total, parts = asked(student, teacher, {"step": step})
        assert float(parts["weight/kl"]) == pytest.approx(weight)
        assert float(total) == pytest.approx(weight * kl_at(1.0)(*logits))
