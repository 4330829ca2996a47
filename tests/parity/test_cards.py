"""Every number on a card that can be computed is computed again."""

import paddle
import pytest

from ssld import models
from ssld.config import cards

HUGE = {"ResNeXt101_32x16d_wsl", "ResNeXt101_32x32d_wsl", "ResNeXt101_32x48d_wsl"}  # up to 3.3 GB of weights
STUDENTS, TEACHERS = cards.all_students(), cards.all_teachers()
SIZES = sorted(
    {(card.arch, card.input.size, card.macs) for card in [*STUDENTS.values(), *TEACHERS.values()]}
    | {(row["arch"], row["size"], row["macs"]) for row in cards.models()}
)


def marked(arch):
    return pytest.param(arch, marks=pytest.mark.slow) if arch in HUGE else arch


def lazy(name):
    with paddle.LazyGuard():  # shapes without memory
        return models.create(name)


def parameters(model):
    return sum(p.size for key, p in model.named_parameters() if not key.endswith(("._mean", "._variance")))


@pytest.mark.parametrize("name", models.names())
def test_the_parameters_of_every_network_are_those_of_its_card(name):
    row = next(row for row in cards.models() if row["name"] == name)
    assert parameters(lazy(name)) == row["params"]


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_card_agrees_with_the_card_of_its_architecture(name):
    teacher, student = TEACHERS[name], STUDENTS[TEACHERS[name].arch]
    assert teacher.params == student.params
    claim = next((claim for claim in student.published.values() if claim.name == name), None)
    if name == "ResNet50_vd_ssld":  # the name changed its meaning: see both cards
        claim = student.published["ssld_v2"]
    assert (claim.top1, claim.top5) == (teacher.top1, teacher.top5)
    assert (claim.input or student.input, claim.macs or student.macs) == (teacher.input, teacher.macs)
    assert claim.weights["develop"] == teacher.weights.url


@pytest.mark.parametrize("arch", [marked(arch) for arch in STUDENTS])
def test_the_multiplications_of_every_network_are_those_of_its_cards(arch):
    model = models.create(arch)
    for name, size, macs in SIZES:
        if name == arch:
            assert models.count(model, size) == (STUDENTS[arch].params, macs)


def test_a_card_names_the_series_that_its_architecture_is_in():
    assert {arch: card.series for arch, card in STUDENTS.items()} == {arch: models.series(arch) for arch in STUDENTS}


def test_every_network_of_the_zoo_has_a_card_under_its_own_name():
    assert set(models.names()) <= {row["name"] for row in cards.models()}
    assert set(STUDENTS) <= set(models.names())
