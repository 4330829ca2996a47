"""The golden adapters on inputs of other sizes and scales, against formulas in NumPy that share no code with a loss."""

import numpy as np
import pytest

from tests.parity.golden_methods import run

N, CLASSES = 9, 13
draw = np.random.default_rng(7)
LABEL = draw.integers(0, CLASSES, N)
Z_S, Z_T = 3.0 * draw.normal(size=(N, CLASSES)), 6.0 * draw.normal(size=(N, CLASSES))
F_S, F_T = 4.0 * draw.normal(size=(N, 11)), 0.3 * draw.normal(size=(N, 6))
M_S, M_T = 2.0 * draw.normal(size=(N, 8, 4, 4)), draw.normal(size=(N, 5, 4, 4))
LOGITS = {"z_s": Z_S, "z_t": Z_T, "target": LABEL}
VECTORS, MAPS = {"feat_s": F_S, "feat_t": F_T}, {"feat_s": M_S, "feat_t": M_T}
STAGES = {"feat_s_0": M_S, "feat_t_0": M_T, "feat_s_1": M_S[:, :3, :2, :2], "feat_t_1": M_T[:, :4, :2, :2]}
TRUE = np.eye(CLASSES)[LABEL]


def softmax(z, t=1.0):
    e = np.exp((z - z.max(-1, keepdims=True)) / t)
    return e / e.sum(-1, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(-1)


def unit(x, axis=-1):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def others(z, t):
    """Softmax over the classes of a row but the true one, [N, classes - 1]."""
    return softmax(z[TRUE == 0].reshape(N, CLASSES - 1), t)


def dkd(alpha, beta, t):
    a, b = (np.stack([(softmax(z, t) * TRUE).sum(1), 1 - (softmax(z, t) * TRUE).sum(1)], 1) for z in (Z_T, Z_S))
    return t**2 * (alpha * kl(a, b) + beta * kl(others(Z_T, t), others(Z_S, t))).mean()


def dist(beta, gamma, tau):
    p, q = softmax(Z_S, tau), softmax(Z_T, tau)
    inter = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    intra = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return tau**2 * (beta * (1 - inter) + gamma * (1 - intra))


def standard(z):
    return (z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True)


def nkd(gamma, t):
    true = (softmax(Z_T) * TRUE).sum(1) * np.log((softmax(Z_S) * TRUE).sum(1))
    return -(true + gamma * t**2 * (others(Z_T, t) * np.log(others(Z_S, t))).sum(1)).mean()


def normkd(tau):
    t, s = (tau * z.std(1, ddof=1, keepdims=True) for z in (Z_T, Z_S))
    return (t[:, 0] ** 2 * kl(softmax(Z_T / t), softmax(Z_S / s))).mean()


def wsld(t, alpha):
    hard_s, hard_t = (-np.log((softmax(z) * TRUE).sum(1)) for z in (Z_S, Z_T))
    weight = 1 - np.exp(-hard_s / hard_t)
    return alpha * t**2 * (weight * -(softmax(Z_T, t) * np.log(softmax(Z_S, t))).sum(1)).mean()


def ttm(gamma, weighted):
    power = softmax(Z_T) ** gamma
    total = power.sum(1, keepdims=True)
    return ((total[:, 0] if weighted else 1.0) * kl(power / total, softmax(Z_S))).mean()


def ofa(eps):
    return -(((softmax(Z_T) + TRUE) ** eps - TRUE) * np.log(softmax(Z_S))).sum(1).mean()


def sp():
    rows = [unit(f.reshape(N, -1) @ f.reshape(N, -1).T) for f in (M_S, M_T)]
    return ((rows[0] - rows[1]) ** 2).mean()


def pkt():
    cosines = [(1 + unit(f) @ unit(f).T) / 2 for f in (F_S, F_T)]
    p, q = (c / c.sum(1, keepdims=True) for c in cosines)
    return (q * np.log((q + 1e-7) / (p + 1e-7))).mean()


def smooth_l1(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5).mean()


def rkd_distances(f, of_all):
    d = np.linalg.norm(f[:, None] - f[None], axis=-1)
    return (d + 1e-6 * np.eye(N)) / (d + 1e-6 * np.eye(N)).mean() if of_all else d / d[d > 0].mean()


def rkd_angles(f):
    e = f[None] - f[:, None]
    e = e / np.maximum(np.linalg.norm(e, axis=-1, keepdims=True), 1e-12)
    return np.einsum("jid,jkd->jik", e, e)


def rkd(of_all=False):
    return smooth_l1(rkd_distances(F_S, of_all) - rkd_distances(F_T, of_all))


def angles():
    return smooth_l1(rkd_angles(F_S) - rkd_angles(F_T))


def attention(f):
    return unit((f**2).mean(1).reshape(N, -1))


def at():
    pairs = [(STAGES[f"feat_s_{n}"], STAGES[f"feat_t_{n}"]) for n in (0, 1)]
    return sum(((attention(a) - attention(b)) ** 2).mean() for a, b in pairs)


def nst():
    def kernel(a, b):
        return (np.einsum("ncp,nkp->nck", a, b) ** 2).mean()

    total = 0.0
    for n in (0, 1):
        a, b = (unit(STAGES[f"feat_{of}_{n}"].reshape(N, STAGES[f"feat_{of}_{n}"].shape[1], -1)) for of in "st")
        total += kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    return total


def streamlined(scale):
    cosines = [unit(z) @ unit(z).T / scale for z in (Z_S, Z_T)]
    gap = cosines[0] - cosines[1]
    inverse = np.linalg.inv(np.cov(gap, rowvar=False) + 0.1 * np.eye(N))
    return np.sqrt(np.einsum("ij,jk,ik->i", gap, inverse, gap)).mean()


PADDLE = LOGITS | {"rkd.feat_s": F_S, "rkd.feat_t": F_T}
BOTH = {"z_s": Z_S, "z_t": Z_T}
CASES = [  # golden file, inputs, key of the value, array of the student, formula
    ("kd", LOGITS, "loss_T5", "z_s", lambda: 25 * kl(softmax(Z_T, 5), softmax(Z_S, 5)).mean()),
    ("dkd", LOGITS, "loss_a0.7_b3_T2", "z_s", lambda: dkd(0.7, 3, 2)),
    ("dist", LOGITS, "loss_b0.5_g2_tau3", "z_s", lambda: dist(0.5, 2, 3)),
    ("lskd", LOGITS, "kd_loss_T3", "z_s", lambda: 9 * kl(softmax(standard(Z_T), 3), softmax(standard(Z_S), 3)).mean()),
    ("nkd", LOGITS, "loss_gamma2_T3", "z_s", lambda: nkd(2, 3)),
    ("normkd", LOGITS, "loss_T1.5", "z_s", lambda: normkd(1.5)),
    ("wsld", LOGITS, "loss_T3_alpha2", "z_s", lambda: wsld(3, 2)),
    ("ttm", LOGITS, "ttm_loss_g0.3", "z_s", lambda: ttm(0.3, False)),
    ("ttm", LOGITS, "wttm_loss_g0.2", "z_s", lambda: ttm(0.2, True)),
    ("ofa", LOGITS, "loss_eps1.3", "z_s", lambda: ofa(1.3)),
    ("skd_streamlined", BOTH, "loss", "z_s", lambda: streamlined(CLASSES)),
    ("skd_streamlined", BOTH, "td_loss", "z_s", lambda: streamlined(1)),
    ("sp", MAPS, "loss", "feat_s", sp),
    ("pkt", VECTORS, "loss", "feat_s", pkt),
    ("rkd", VECTORS, "loss_distance", "feat_s", rkd),
    ("rkd", VECTORS, "loss_angle", "feat_s", angles),
    ("at", STAGES, "loss", "feat_s_0", at),
    ("nst", STAGES, "loss", "feat_s_1", nst),
    ("paddle_losses", PADDLE, "rkd.distance.loss", "rkd.feat_s", lambda: rkd(True)),
    ("paddle_losses", PADDLE, "rkd.angle.loss", "rkd.feat_s", angles),
]
CONSTANT = {"wsld"}  # the weight of an image depends on the student and counts as a constant
names = ("name", "inputs", "key", "array", "formula")


def value(name, inputs, key):
    return float(run(name, inputs, {"wanted": [key]})[key])


@pytest.mark.parametrize(names, CASES)
def test_the_value_is_that_of_the_formula(name, inputs, key, array, formula):
    assert value(name, inputs, key) == pytest.approx(formula(), rel=1e-6)


@pytest.mark.parametrize(names, [case for case in CASES if case[0] not in CONSTANT])
def test_the_gradient_is_the_slope_of_the_value(name, inputs, key, array, formula):
    """Along a random direction of one array of the student."""
    direction, step = np.random.default_rng(1).normal(size=inputs[array].shape), 1e-6
    ends = [value(name, inputs | {array: inputs[array] + sign * step * direction}, key) for sign in (1, -1)]
    gradient = run(name, inputs, {"wanted": [key]})[key.replace("loss", f"grad_{array.rpartition('.')[2]}")]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-4, abs=1e-9)
