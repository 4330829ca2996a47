"""Losses of logits, of several teachers, of peers and of the student itself: what their golden files do not pin."""

import math

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.distill.step import outputs_of
from ssld.errors import DataError, RecipeError, RunError
from ssld.interfaces import Outputs
from ssld.losses import About, build_terms, registry
from ssld.losses.base import Labelled, unlabelled_options
from ssld.losses.objective import Objective
from ssld.losses.terms import fitted
from ssld.runtime import Runtime, seed_networks

IMAGES, CLASSES, SIZE = 6, 5, 64
FOLDERS = ("ssld.losses.label", "ssld.losses.logit", "ssld.losses.multi", "ssld.losses.self_")
OURS = [
    name
    for name, cls in registry.built_in().items()
    if cls.__module__.startswith(FOLDERS)
    and name != "wkd_l"  # it reads the teacher's classifier, see the losses of features
    and name != "udml"  # it reads maps of peers of one architecture, see the peers
]
LABELLED = [name for name in OURS if issubclass(registry.built_in()[name], Labelled) and name != "lskd"]
LABELS = np.array([0, 3, 4, 1, 2, 3])
OF_BRANCHES = ("byot",)  # the network's own logits teach, and only branches learn
FEW_CLASSES = {"mealv2": {"divisor": 1}}
ALONE = Runtime(rank=0, world=1, gpu=None)


@pytest.fixture(scope="module")
def networks():
    """The outputs of a student and two teachers for six images: all taps, and the logits of a strong view."""
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(IMAGES, 3, SIZE, SIZE)).astype("float32"))
    every = []
    for number, arch in enumerate(["MobileNetV3_small_x0_35", "MobileNetV3_small_x0_5", "ResNet18_vd"]):
        seed_networks(number)
        network = models.create(arch, num_classes=CLASSES, in_size=SIZE)
        network.eval()
        with paddle.no_grad():
            outputs = outputs_of(network, images, network.taps)
            outputs["strong.logits"] = network(images + paddle.randn(images.shape))
        for name in ("logits", "strong.logits"):  # those of a network that has just begun are all about the same
            outputs[name] = 2 * outputs[name] / outputs[name].std(axis=-1, keepdim=True)
        every.append(outputs)
    return every


def given(networks, change=lambda logits: logits):
    """Outputs of a student, with gradients, and of a teacher that is two apart; `change` is made to all logits."""
    changed = [Outputs({name: change(v) if "logits" in name else v for name, v in one.items()}) for one in networks]
    student = Outputs({name: v.detach().clone() for name, v in changed[0].items()})
    for value in student.values():
        value.stop_gradient = False
    return student, Outputs(changed[1], each={"big": changed[1], "other": changed[2]})


def batch(networks, label=LABELS, **more):
    peers = {"peer": Outputs({"logits": networks[2]["logits"]})}
    index = paddle.arange(IMAGES)
    return {"label": paddle.to_tensor(label), "index": index, "peers": peers, "step": 0, "epoch": 1, **more}


def about(student, teacher, **more):
    shapes = [{name: tuple(v.shape[1:]) for name, v in one.items()} for one in (student, teacher)]
    each = {name: {key: tuple(v.shape[1:]) for key, v in one.items()} for name, one in teacher.each.items()}
    options = {"classes": CLASSES, "images": IMAGES, "labels": LABELS, "steps": 4, "steps_per_epoch": 1} | more
    return About(student=shapes[0], teacher=shapes[1], micro=IMAGES, world=1, seed=0, each=each, **options)


def fitting(tree, student, teacher):
    """Terms with the taps that these outputs have."""
    shapes = [{name: tuple(v.shape[1:]) for name, v in one.items()} for one in (student, teacher)]
    return fitted(build_terms(tree), *shapes)[0]


def term(kind, student, teacher, values, /, **options):
    """(total, parts, layers) of one term."""
    objective = Objective(fitting({kind: FEW_CLASSES.get(kind, {}) | options}, student, teacher))
    seed_networks(1)
    layers = objective.helpers(lambda name: about(student, teacher))
    total, parts = objective(student, teacher, values, layers)
    return total, parts, layers


@pytest.mark.parametrize("kind", OURS)
def test_a_term_with_default_options_trains_on_networks_of_the_zoo(kind, networks):
    student, teacher = given(networks)
    total, _, layers = term(kind, student, teacher, batch(networks))
    total.backward()
    assert math.isfinite(float(total))
    cls = registry.built_in()[kind]
    reads = fitting({kind: {}}, student, teacher)[kind].loss.reads
    reached = {name for name, value in student.items() if value.grad is not None}
    assert reached <= reads.student
    assert all(np.abs(student[name].grad.numpy()).max() > 0 for name in reached)
    assert ("logits" in reached) == (kind not in OF_BRANCHES)
    for name, parameter in [pair for layer in layers.values() for pair in layer.named_parameters()]:
        if not parameter.stop_gradient:
            assert parameter.grad is not None, f"{cls.__name__}: {name}"
            assert np.abs(parameter.grad.numpy()).max() > 0, f"{cls.__name__}: {name}"


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    "change", [lambda z: z / z.abs().max() * 1e4, lambda z: z * 0, lambda z: -1e4 * z / z.abs().max()]
)
def test_logits_of_ten_thousand_or_all_equal_give_finite_values_and_gradients(kind, change, networks):
    student, teacher = given(networks, change)
    total, _, layers = term(kind, student, teacher, batch(networks))
    total.backward()
    assert math.isfinite(float(total))
    grads = [value.grad for value in student.values() if value.grad is not None]
    grads += [p.grad for layer in layers.values() for p in layer.parameters() if p.grad is not None]
    assert all(np.isfinite(grad.numpy()).all() for grad in grads)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", OURS)
def test_large_logits_in_16_bits_have_the_value_of_these_numbers_in_32_bits(kind, dtype, networks):
    def total(*types):
        def rounded(logits):
            logits = logits / logits.abs().max() * 1e4
            for name in types:
                logits = logits.astype(name)
            return logits

        student, teacher = given(networks, rounded)
        return float(term(kind, student, teacher, batch(networks))[0])

    assert total(dtype) == pytest.approx(total(dtype, "float32"), rel=1e-6)


@pytest.mark.parametrize("kind", LABELLED)
def test_an_image_without_a_label_stops_the_run_or_counts_nothing(kind, networks):
    label = np.where(np.arange(IMAGES) == 2, -1, LABELS)
    student, teacher = given(networks)
    with pytest.raises(DataError, match=f"image 2: has no label; drop the loss {kind} "):
        term(kind, student, teacher, batch(networks, label))
    if build_terms({kind: {}})[kind].loss.reads.student > {"strong.logits"}:
        return
    total, _, _ = term(kind, student, teacher, batch(networks, label), unlabelled="ignore")
    total.backward()
    slope = student["stage1" if kind in OF_BRANCHES else "logits"].grad.numpy()
    others = [row for row in range(IMAGES) if row != 2]
    assert np.abs(slope[others]).max() > 0
    if kind not in ("uskd", *OF_BRANCHES):  # a mean of its batch, or a batch norm, is the same for every image
        assert not slope[2].any()


@pytest.mark.parametrize("kind", LABELLED)
def test_an_image_without_a_label_may_have_the_class_that_the_teacher_gives_it(kind, networks):
    label = np.where(np.arange(IMAGES) % 2, -1, LABELS)
    student, teacher = given(networks)
    answer = teacher["logits"].numpy().argmax(axis=1)
    assert (answer[1::2] != LABELS[1::2]).any()
    wanted, _, _ = term(kind, student, teacher, batch(networks, np.where(label < 0, answer, label)))
    other, _, _ = term(kind, student, teacher, batch(networks, LABELS))
    found, _, _ = term(kind, student, teacher, batch(networks, label), unlabelled="teacher_argmax")
    assert float(found) == float(wanted) != float(other)


def test_of_a_mixture_both_missing_labels_are_the_class_that_the_teacher_gives_it(networks):
    student, teacher = given(networks)
    answer = teacher["logits"].numpy().argmax(axis=1)
    labels = (np.array([-1, 3, -1, 1, 2, -1]), np.array([4, -1, -1, 0, 1, 2]))
    filled = [paddle.to_tensor(np.where(label < 0, answer, label)) for label in labels]
    wanted, _, _ = term("ce", student, teacher, batch(networks, filled[0].numpy(), label_b=filled[1], lam=0.3))
    more = {"label_b": paddle.to_tensor(labels[1]), "lam": 0.3}
    found, _, _ = term("ce", student, teacher, batch(networks, labels[0], **more), unlabelled="teacher_argmax")
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("kind", OURS)
def test_a_term_counts_the_images_of_which_the_teacher_is_sure(kind, networks):
    student, teacher = given(networks)
    z = teacher["logits"].numpy().astype(np.float64)
    confidence = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)).max(axis=1)
    value = float(np.sort(confidence)[2:4].mean())  # three of six images have more
    loss = fitting({kind: FEW_CLASSES.get(kind, {})}, student, teacher)[kind].loss
    seed_networks(1)
    layers = loss.helpers(about(student, teacher))
    rows = loss(student, teacher, batch(networks), layers)
    assert (rows.ndim == 0) == loss.coupled
    for shape, counted in (("hard", confidence >= value), ("soft", confidence * (confidence >= value))):
        asked = {"min_teacher": {"value": value, "kind": shape}}
        if loss.coupled:
            with pytest.raises(RecipeError, match="gives one number for all images, and min_teacher selects among"):
                term(kind, student, teacher, batch(networks), **asked)
            continue
        total, parts, _ = term(kind, student, teacher, batch(networks), **asked)
        assert float(total) == pytest.approx(float((rows.numpy() * counted).mean()), rel=1e-5)
        assert float(parts[f"passed/{kind}"]) == 0.5
        assert float(parts[f"loss/{kind}"]) == float(total)


def test_an_image_below_the_confidence_has_no_gradient(networks):
    student, teacher = given(networks)
    z = teacher["logits"].numpy()
    confidence = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)).max(axis=1)
    term("kl", student, teacher, batch(networks), min_teacher=float(np.sort(confidence)[3]))[0].backward()
    moved = np.abs(student["logits"].grad.numpy()).max(axis=1) > 0
    assert moved.tolist() == (confidence >= np.sort(confidence)[3]).tolist()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"dist": {"temperature": 0}}, r"^\.dist\.temperature: should be a number above 0, .*; got 0$"),
        (
            {"lskd": {"temperature": -1}},
            r"^\.lskd\.temperature: should be a number above 0, .*; got -1$",
        ),
        ({"lskd": {"base": "mlkd"}}, r"^\.lskd\.base: input should be 'kl' or 'dkd'; got 'mlkd'$"),
        (
            {"rld": {"confidence_temperature": 0}},
            r"^\.rld\.confidence_temperature: should be a number above 0, .*; got 0$",
        ),
        ({"ttm": {"gamma": 0}}, r"^\.ttm\.gamma: should be a number above 0, .*; got 0$"),
        ({"normkd": {"tau": 0}}, r"^\.normkd\.tau: should be a number above 0, .*; got 0$"),
        ({"ctkd": {"ramp": 0}}, r"^\.ctkd\.ramp: should be a number above 0, .*; got 0$"),
        ({"mealv2": {"divisor": 0}}, r"^\.mealv2\.divisor: should be an integer from 1 to 1,000,000; got 0$"),
        ({"ofa": {"eps": 0}}, r"^\.ofa\.eps: should be a number above 0, .*; got 0$"),
        ({"ofa": {"width": 0}}, r"^\.ofa\.width: should be an integer from 1 to 1,000,000; got 0$"),
        ({"pskd": {"share": 1.5}}, r"^\.pskd\.share: should be a number from 0 to 1; got 1\.5$"),
        ({"ca_mkd": {"features": -1}}, r"^\.ca_mkd\.features: should be a number from 0 to 1,000,000,000; got -1$"),
        ({"tfkd": {"form": "reg"}}, r"^\.tfkd\.form: input should be 'self' or 'regularise'; got 'reg'$"),
    ],
)
def test_a_wrong_option_is_one_line_that_helps(terms, message):
    with pytest.raises(RecipeError, match=message):
        build_terms(terms)


def test_what_a_loss_reads_follows_from_its_options():
    def reads(kind, **options):
        return build_terms({kind: options})[kind].loss.reads

    assert reads("lskd").batch == set()
    assert reads("lskd", base="dkd").batch == {"label"}
    assert reads("tfkd").teacher == {"logits"}
    assert reads("tfkd", form="regularise").teacher == set()
    assert reads("ca_mkd", features=0).student == {"logits"}
    assert reads("ofa", student=[]).student == {"logits"}
    assert reads("ofa", width=64).teacher == {"logits"}
    assert reads("mlkd", weak="a", strong="b").teacher == {"a", "b"}
    assert reads("deit", head="distilled").student == {"logits", "distilled"}


# --- CTKD


def test_the_temperature_climbs_while_the_student_descends_and_is_logged(networks):
    student, teacher = given(networks)
    loss = build_terms({"ctkd": {}})["ctkd"].loss
    assert [loss.reversal(epoch) for epoch in (0, 5, 10, 50)] == pytest.approx([0, -0.5, -1, -1])
    total, parts, layers = term("ctkd", student, teacher, batch(networks, epoch=10))
    theta = layers["ctkd"].theta
    assert float(parts["ctkd/temperature"]) == pytest.approx(1 + 20 / (1 + math.exp(-1)))
    assert parts["ctkd/temperature"].stop_gradient
    total.backward()
    before = float(total)
    theta.set_value(theta - 0.1 * theta.grad / theta.grad.abs())
    after = Objective(build_terms({"ctkd": {}}))(student, teacher, batch(networks), layers)[0]
    assert float(after) > before


def test_the_reversal_multiplies_the_gradient_of_the_temperature_alone(networks):
    slopes = []
    for epoch in (5, 10):
        student, teacher = given(networks)
        total, _, layers = term("ctkd", student, teacher, batch(networks, epoch=epoch))
        total.backward()
        slopes.append((float(layers["ctkd"].theta.grad[0]), student["logits"].grad.numpy()))
    assert slopes[1][0] == pytest.approx(2 * slopes[0][0], rel=1e-5)
    np.testing.assert_array_equal(slopes[0][1], slopes[1][1])


def test_a_discriminator_of_few_classes_is_refused(networks):
    with pytest.raises(RecipeError, match=r"divisor: 2: 5 classes over its square leave 1 numbers, .*; give a smaller"):
        term("mealv2", *given(networks), batch(networks), divisor=2)


def test_layers_that_log_nothing_add_nothing_to_the_log(networks):
    student, teacher = given(networks)
    _, parts, _ = term("mealv2", student, teacher, batch(networks))
    assert parts.keys() == {"loss/mealv2"}


# --- PS-KD


def test_predictions_of_the_epoch_before_soften_the_label_and_are_resumed(networks):
    student, teacher = given(networks)
    terms = Objective(build_terms({"pskd": {}}))
    layers = terms.helpers(lambda name: about(student, teacher))
    plain = Objective(build_terms({"ce": {}}))(student, None, batch(networks))[0]
    first = terms(student, None, batch(networks), layers)[0]
    assert float(first) == pytest.approx(float(plain)), "an image that was not seen has its label alone"
    layers["pskd"].after_step(ALONE)
    predicted = paddle.nn.functional.softmax(student["logits"]).numpy()
    np.testing.assert_allclose(layers["pskd"].memory.rows.numpy(), predicted, rtol=1e-5)
    fresh = terms.helpers(lambda name: about(student, teacher))
    fresh["pskd"].set_state_dict(layers["pskd"].state_dict())
    values = batch(networks, epoch=3)
    second, again = (float(terms(student, None, values, owned)[0]) for owned in (layers, fresh))
    target = 0.4 * np.eye(CLASSES)[LABELS] + 0.6 * predicted  # 0.8 of 3 / 4
    assert second == again == pytest.approx(-(target * np.log(predicted)).sum(1).mean(), rel=1e-5)


def test_predictions_wait_for_the_step(networks):
    student, teacher = given(networks)
    _, _, layers = term("pskd", student, teacher, batch(networks))
    assert not layers["pskd"].memory.rows.numpy().any()


# --- peers and several teachers


def test_peers_are_not_trained_by_dml_unless_it_says_so(networks):
    for options, trained in (({}, False), ({"symmetric": True, "detached": False}, True)):
        student, teacher = given(networks)
        peer = networks[2]["logits"].detach().clone()
        peer.stop_gradient = False
        total, _, _ = term("dml", student, teacher, batch(networks, peers={"a": Outputs({"logits": peer})}), **options)
        total.backward()
        assert (peer.grad is not None) == trained


def test_dml_takes_the_mean_over_the_peers(networks):
    student, teacher = given(networks)
    one, other = ({"x": Outputs({"logits": networks[number]["logits"]})} for number in (1, 2))
    apart = [float(term("dml", student, teacher, batch(networks, peers=peers))[0]) for peers in (one, other)]
    both = float(term("dml", student, teacher, batch(networks, peers={**one, "y": other["x"]}))[0])
    assert both == pytest.approx(sum(apart) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("ensemble", "wanted"),
    [("naive", [[5.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), ("min_logit", [[0.0, -4.0, -5.0], [-2.0, 0.0, -2.0]])],
)
def test_the_ensemble_of_kdcl_is_the_best_of_the_networks(ensemble, wanted):
    networks = paddle.to_tensor([[[5.0, 1.0, 0.0], [4.0, 1.0, -1.0]], [[2.0, 3.0, 0.0], [0.0, 2.0, 1.0]]])
    loss = build_terms({"kdcl": {"ensemble": ensemble}})["kdcl"].loss
    ensembled = loss.together(networks, paddle.to_tensor([0, 1])).numpy()
    np.testing.assert_array_equal(ensembled, wanted)


def test_the_mean_of_losses_and_the_loss_of_the_mean_have_one_gradient(networks):
    slopes, values = [], []
    for mean in ("losses", "probabilities"):
        student, teacher = given(networks)
        total, _, _ = term("aver", student, teacher, batch(networks), mean=mean)
        total.backward()
        slopes.append(student["logits"].grad.numpy())
        values.append(float(total))
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-6)
    assert values[0] > values[1]


@pytest.mark.parametrize("kind", ["aver", "ebkd", "ca_mkd"])
def test_a_loss_of_several_teachers_says_so_to_a_stage_with_one(kind, networks):
    student, teacher = given(networks)
    alone = Outputs(teacher, each={"big": teacher.each["big"]})
    options = {"features": 0} if kind == "ca_mkd" else {}
    with pytest.raises(RunError, match="this stage has 1 to be read apart; give two or more, or use the loss kl"):
        term(kind, student, alone, batch(networks), **options)


@pytest.mark.parametrize("kind", ["dml", "kdcl"])
def test_a_loss_of_peers_says_so_to_a_stage_without_any(kind, networks):
    with pytest.raises(RunError, match="this stage trains one alone; drop this loss"):
        term(kind, *given(networks), batch(networks, peers={}))


# --- single methods


def test_lskd_does_not_see_shift_and_scale_of_the_logits(networks):
    student, teacher = given(networks)
    values = [float(term("lskd", *given(networks, c), batch(networks))[0]) for c in (lambda z: z, lambda z: 3 * z + 7)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert float(term("kl", student, teacher, batch(networks))[0]) != pytest.approx(values[0], rel=1e-2)


def test_rld_counts_an_image_nothing_whose_true_class_is_the_last_of_the_teacher():
    def masked(teacher, label):
        student = Outputs({"logits": paddle.to_tensor([[1.0, 2.0, 3.0]])})
        objective = Objective(build_terms({"rld": {"alpha": 0.0, "beta": 1.0}}))
        return float(objective(student, Outputs({"logits": paddle.to_tensor([teacher])}), {"label": label})[0])

    last, middle, first = (paddle.to_tensor([label]) for label in range(3))
    assert masked([0.0, 1.0, 2.0], last) == masked([0.0, 1.0, 2.0], middle) == 0, (
        "no class is left, or one that is sure"
    )
    assert masked([0.0, 1.0, 2.0], first) == pytest.approx(0, abs=1e-6), "both networks hold the others one apart"
    assert masked([0.0, 3.0, 4.0], first) > 0.1


def test_a_hard_teacher_is_the_label_of_its_highest_logit(networks):
    student, teacher = given(networks)
    hard = float(term("soft_ce", student, teacher, batch(networks), hard=True)[0])
    label = teacher["logits"].numpy().argmax(1)
    assert hard == pytest.approx(float(term("ce", student, teacher, batch(networks, label))[0]), rel=1e-6)


def test_deit_without_a_head_of_its_own_is_a_sum_of_two_cross_entropies(networks):
    student, teacher = given(networks)
    parts = [
        term("ce", student, teacher, batch(networks))[0],
        term("soft_ce", student, teacher, batch(networks), hard=True)[0],
    ]
    total = term("deit", student, teacher, batch(networks))[0]
    assert float(total) == pytest.approx(sum(map(float, parts)) / 2, rel=1e-6)


def test_ce_reads_the_logits_that_it_names(networks):
    student, teacher = given(networks)
    total, _, _ = term("ce", student, teacher, batch(networks), student="strong.logits")
    total.backward()
    assert student["logits"].grad is None
    assert np.abs(student["strong.logits"].grad.numpy()).max() > 0


@pytest.mark.parametrize(("smoothing", "wanted"), [(0.0, [2500.4, 0.18566]), (0.1, [2437.8943, 62.8357])])
def test_binary_cross_entropy_is_that_of_torch(smoothing, wanted):
    """`binary_cross_entropy_with_logits` of PyTorch 2.13, the mean over the classes, with logits as large as 1e4."""
    logits = paddle.to_tensor([[2.0, -1.0, 0.5, 1e4], [0.0, -3.0, 7.0, -1e4]], stop_gradient=False)
    loss = registry.built_in()["bce"](smoothing=smoothing)
    values = loss({"logits": logits}, {}, {"label": paddle.to_tensor([0, 2])}, None)
    np.testing.assert_allclose(values.numpy(), wanted, rtol=1e-4)
    values.sum().backward()
    target = np.full((2, 4), smoothing / 4)
    target[[0, 1], [0, 2]] += 1 - smoothing
    sigmoid = 1 / (1 + np.exp(-logits.numpy().astype("float64").clip(-500, 500)))
    np.testing.assert_allclose(logits.grad.numpy(), (sigmoid - target) / 4, atol=1e-6)


def test_masks_of_mlkd_select_rows_and_classes_where_the_paper_is_followed(networks):
    student, teacher = given(networks)
    value = float(term("mlkd", student, teacher, batch(networks), masks="as_paper")[0])
    soft = {}
    for who, outputs in (("s", student), ("t", teacher)):
        for view in ("logits", "strong.logits"):
            for t in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
                z = outputs[view].numpy().astype(np.float64) / t
                soft[who, view, t] = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    p = soft["t", "logits", 1.0]

    def mask(values):  # Paddle's median of an even number of values is the mean of the two in the middle
        return (values <= np.median(values)).astype(float)

    rows, classes = mask(p.max(axis=1)), mask(p.sum(axis=0))
    assert 0 < rows.mean() < 1
    assert 0 < classes.mean() < 1
    wanted = 0.0
    for t in (4.0, 3.0, 5.0, 2.0, 6.0):
        for view, of_rows, of_classes in (("logits", rows, classes), ("strong.logits", 1.0, 1.0)):
            s, q = soft["s", view, t], soft["t", view, t]
            wanted += (of_rows * t * t * (q * np.log(q / s)).sum(axis=1)).mean()
            wanted += (of_classes * ((q.T @ q - s.T @ s) ** 2).sum(axis=1)).mean()
            wanted += (of_rows * ((q @ q.T - s @ s.T) ** 2).sum(axis=1)).mean()
    assert value == pytest.approx(wanted, rel=1e-5)
    assert value != pytest.approx(float(term("mlkd", student, teacher, batch(networks))[0]), rel=1e-3)


def test_a_standardised_mlkd_does_not_see_the_scale(networks):
    def total(scale, **options):
        return float(term("mlkd", *given(networks, lambda z: scale * z), batch(networks), **options)[0])

    assert total(1.0, standardise=True) == pytest.approx(total(3.0, standardise=True), rel=1e-4)
    assert total(1.0) != pytest.approx(total(3.0), rel=1e-2)


def test_a_branch_of_ofa_halves_its_map_until_it_is_the_last_one():
    from ssld.losses.layers.branch import Branches

    layer = Branches([(4, 16, 16), (8, 8, 8), (16, 2, 2)], (16, 2, 2), 24, CLASSES)
    assert [len(body) if isinstance(body, paddle.nn.Sequential) else 0 for body in layer.bodies] == [3, 2, 0]
    maps = [paddle.ones([2, 4, 16, 16]), paddle.ones([2, 8, 8, 8]), paddle.ones([2, 16, 2, 2])]
    assert layer.bodies[0](maps[0]).shape == [2, 24, 2, 2]
    assert [logits.shape for logits in layer(maps)] == [[2, CLASSES]] * 3
    with pytest.raises(RecipeError, match=r"a tap of shape \(9,\) is no map \(C, H, W\); name other taps"):
        Branches([(9,)], (16, 2, 2), 24, CLASSES)


def test_the_alpha_of_teacher_free_distillation_is_that_of_its_form(networks):
    for form, alpha in (("self", 0.9), ("regularise", 0.1)):
        values = [
            float(term("tfkd", *given(networks), batch(networks), form=form, **options)[0])
            for options in ({}, {"alpha": alpha}, {"alpha": 0.5})
        ]
        assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("kind", LABELLED)
def test_the_option_for_images_without_a_label_stands_in_every_loss_that_reads_it(kind):
    assert unlabelled_options(build_terms({kind: {}})[kind].loss) == ("error", "ignore", "teacher_argmax")
    rules = {"error": "refuse", "ignore": "ignore", "teacher_argmax": "teacher_argmax"}
    for option, rule in rules.items():
        made = build_terms({kind: {"unlabelled": option}})[kind]
        assert made.loss.on_unlabelled() == rule
        assert ("logits" in made.reads.teacher) >= (option == "teacher_argmax")
    assert build_terms({kind: {}})[kind].loss.on_unlabelled() == "refuse"


def gaps(*values):
    """Logits of two classes that differ by these values."""
    return paddle.to_tensor([[value, 0.0] for value in values])


def test_masks_as_in_the_paper_select_rows_and_classes_of_the_weak_view_alone():
    """Two images, two classes, a student that knows nothing: every part can be written out.

    Of the weak view the teacher is surer of image 0 than of image 1, and class 0 has more of its probability than class
    1: image 1 and class 1 count, each a half of a mean of two.
    """
    weak, strong = (2.0, 0.5), (-1.0, 3.0)
    wanted = 0.0
    for t in (4.0, 3.0, 5.0, 2.0, 6.0):
        parts = {}
        for view, values in (("weak", weak), ("strong", strong)):
            a, b = (1 / (1 + math.exp(-value / t)) for value in values)  # of class 0
            k = [t**2 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))) for p in (a, b)]
            mixed = a * (1 - a) + b * (1 - b) - 0.5  # of classes 0 and 1, less that of the student
            cc = [mixed**2 + (a**2 + b**2 - 0.5) ** 2, mixed**2 + ((1 - a) ** 2 + (1 - b) ** 2 - 0.5) ** 2]
            together = a * b + (1 - a) * (1 - b) - 0.5
            bc = [together**2 + (p**2 + (1 - p) ** 2 - 0.5) ** 2 for p in (a, b)]
            parts[view] = k, cc, bc
        wanted += sum(part[1] / 2 for part in parts["weak"]) + sum(sum(part) / 2 for part in parts["strong"])
    student = Outputs({"logits": gaps(0.0, 0.0), "strong.logits": gaps(0.0, 0.0)})
    teacher = Outputs({"logits": gaps(*weak), "strong.logits": gaps(*strong)})
    loss = build_terms({"mlkd": {"masks": "as_paper"}})["mlkd"].loss
    assert float(loss(student, teacher, {}, None)) == pytest.approx(wanted, rel=1e-5)


def test_branches_of_byot_learn_from_the_label_and_from_the_last_layer_as_its_formula_says(networks):
    student, teacher = given(networks)
    options = {"alpha": 0.25, "temperature": 2.0, "features": 0.5}
    total, _, layers = term("byot", student, teacher, batch(networks), **options)
    branches, taps = layers["byot"], ["stage1", "stage2", "stage3"]
    found = branches.vectors_and_logits([student[tap] for tap in taps])
    last, vector = student["logits"].numpy().astype("float64"), student["map"].numpy().mean((2, 3))

    def softmax(logits):
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    wanted = 0.0
    for own_vector, own in found:
        z = own.numpy().astype("float64")
        true = -np.log(softmax(z)[np.arange(IMAGES), LABELS])
        p, q = softmax(last / 2), softmax(z / 2)
        gap = ((own_vector.numpy() - vector) ** 2).sum(1)
        wanted += (0.75 * true + 0.25 * 4 * (p * np.log(p / q)).sum(1) + 0.5 * gap).mean()
    assert float(total) == pytest.approx(wanted, rel=1e-4)
    total.backward()
    assert student["logits"].grad is student["map"].grad is None, "the last layer teaches and does not learn"
    assert all(np.abs(student[tap].grad.numpy()).max() > 0 for tap in taps)
