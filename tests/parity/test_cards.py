"""Every number on a card that can be computed is computed again."""

import paddle
import pytest

from ssld import create_model, models
from ssld.config import cards

MODELS, STUDENTS, TEACHERS = cards.models(), cards.all_students(), cards.all_teachers()
# One count for each network, revision and size that a card speaks of; a training that changes none of them adds none.
COUNTS = {(card.arch, "2.x", card.input.size): (card.params, card.macs) for card in STUDENTS.values()}
COUNTS |= {(model.arch, model.revision, model.input.size): (model.params, model.macs) for model in MODELS.values()}
COUNTED = [what for what in COUNTS if what[0] in models.names()]


@pytest.fixture
def shapes_alone():
    """Paddle's static mode: neither memory for weights nor arithmetic."""
    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            yield
    finally:
        paddle.disable_static()


@pytest.mark.parametrize(("arch", "revision", "size"), COUNTED)
def test_parameters_and_multiplications_of_every_network_are_those_of_its_cards(arch, revision, size, shapes_alone):
    model = models.create(arch, STUDENTS[arch].classes, in_size=size, revision=revision)
    assert models.count(model, size) == COUNTS[arch, revision, size]


def test_counting_by_shapes_alone_counts_what_runs(shapes_alone):
    counted = models.count(models.create("MobileNetV3_small_x0_35"), 64)
    paddle.disable_static()
    assert counted == models.count(models.create("MobileNetV3_small_x0_35"), 64)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_card_agrees_with_the_card_of_its_architecture(name):
    teacher, student = TEACHERS[name], STUDENTS[TEACHERS[name].arch]
    model = MODELS["ResNet50_vd_ssld_v2" if name == "ResNet50_vd_ssld" else name]  # whose name moved: see both cards
    assert (teacher.arch, teacher.params, teacher.macs) == (model.arch, model.params, model.macs)
    assert (model.top1, model.top5, model.input) == (teacher.top1, teacher.top5, teacher.input)
    assert student.published[model.kind].weights["develop"] == teacher.weights.url


def test_a_card_names_the_series_that_its_architecture_is_in():
    known = models.names()
    assert {arch: card.series for arch, card in STUDENTS.items() if arch in known} == {
        arch: models.series(arch) for arch in STUDENTS if arch in known
    }


def test_every_architecture_has_a_card_and_every_card_an_architecture():
    assert set(models.names()) == set(STUDENTS)


def test_a_claim_of_revision_1x_is_about_an_architecture_that_has_one():
    old = {model.arch for model in MODELS.values() if model.revision == "1.x"}
    assert {arch for arch in models.names() if models.revised(arch)} == old & set(models.names())


@pytest.mark.parametrize(
    ("name", "arch", "size"),
    [
        ("MobileNetV3_large_x1_0_ssld_int8", "MobileNetV3_large_x1_0", 224),
        ("Fix_ResNet50_vd_ssld_v2", "ResNet50_vd", 320),
    ],
)
def test_a_network_is_made_by_any_published_name(name, arch, size):
    with paddle.LazyGuard():
        model = create_model(name, num_classes=10)
        small = create_model(name, in_size=96)
    assert (model.arch, model.revision, model.num_classes, model.in_size) == (arch, "2.x", 10, size)
    assert small.in_size == 96
