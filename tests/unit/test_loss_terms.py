"""The `loss:` mapping of a recipe: names, kinds, options, weights. The values of the losses are in tests/parity."""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import pytest

from ssld.errors import RecipeError
from ssld.losses import Loss, Reads, build_terms, registry
from ssld.losses.schedule import Schedule, weight_at
from ssld.losses.terms import Term


@dataclass(frozen=True)
class Everything(Loss):
    """A loss with an option of each type."""

    rows: int = 32
    limit: float | None = None
    taps: tuple[str, ...] = ("stage1",)
    grid: tuple[tuple[int, int], ...] = ()
    mode: Literal["soft", "hard"] = "soft"
    both: bool = False

    reads: ClassVar = Reads()


KNOWN = {**registry.built_in(), "everything": Everything}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"sslt": {}}, r"^\.sslt: no loss named 'sslt'; did you mean 'ssld'\?$"),
        ({"soft": {"kind": "sslt"}}, r"^\.soft: no loss named 'sslt'; did you mean 'ssld'\?$"),
        ({"kl": {"temprature": 4}}, r"^\.kl: no option 'temprature'; did you mean 'temperature'\?$"),
        (
            {"kl": {"temperature": "hot"}},
            r"^\.kl\.temperature: should be a number above 0, .*; got 'hot'$",
        ),
        (
            {"kl": {"temperature": True}},
            r"^\.kl\.temperature: should be a number above 0, .*; got True$",
        ),
        (
            {"kl": {"temperature": math.inf}},
            r"^\.kl\.temperature: should be a number above 0, .*; got inf$",
        ),
        ({"kl": {"temperature": 0}}, r"^\.kl\.temperature: should be a number above 0, .*; got 0$"),
        ({"kl": {"weight": math.nan}}, r"^\.kl\.weight: should be a number from 0 to 1,000,000,000; got nan$"),
        ({"kl": {"weight": "1"}}, r"^\.kl\.weight: should be a number from 0 to 1,000,000,000; got '1'$"),
        ({"kl": {"weight": {"at": [[2, 1], [1, 1]]}}}, r"^\.kl\.weight\.at: the epochs \[2\.0, 1\.0\] do not rise"),
        ({"kl": {"weight": {"at": [[0, 0]]}}}, r"^\.kl\.weight\.at: every weight is 0"),
        (
            {"kl": {"weight": {"at": [[0, 1]], "per": "day"}}},
            r"^\.kl\.weight\.per: input should be .*; got 'day'",
        ),
        ({"kl": {"weight": {"at": [[0, 1]], "each": 1}}}, r"^\.kl\.weight\.each: "),
        (
            {"ce": {"unlabelled": "ignor"}},
            r"^\.ce\.unlabelled: input should be 'error', 'ignore' or 'teacher_argmax'; got 'ignor'$",
        ),
        ({"ce": {"smoothing": 1.0}}, r"^\.ce\.smoothing: should be a number from 0, below 1; got 1\.0$"),
        ({"ce": {"weight": -1}}, r"^\.ce\.weight: should be a number from 0 to 1,000,000,000; got -1$"),
        ({"ce": {"weight": 0}, "kl": {"weight": 0.0}}, "^: every weight is 0"),
        ({"ssld": 3}, r"^\.ssld: 3 is not a mapping; write ssld: \{weight: 1\.0\}$"),
        ({"everything": {"rows": 2.5}}, r"^\.everything\.rows: input should be a valid integer; got 2\.5$"),
        ({"everything": {"taps": "stage1"}}, r"^\.everything\.taps: input should be a valid array; got 'stage1'"),
        ({"at": {"student": ["stage1"], "teacher": []}}, r"^\.at\.teacher: 0 taps of the teacher for 1 of the student"),
        ({}, "^: no terms"),
    ],
)
def test_a_wrong_term_is_one_line_that_helps(terms, message):
    with pytest.raises(RecipeError, match=message) as caught:
        build_terms(terms, KNOWN)
    assert "\n" not in str(caught.value)


def test_options_of_every_type_can_be_given():
    given = {"rows": 8, "limit": 3, "taps": ["a", "b"], "grid": [[1, 2]], "mode": "hard", "both": True}
    loss = build_terms({"everything": given}, KNOWN)["everything"].loss
    assert loss == Everything(rows=8, limit=3.0, taps=("a", "b"), grid=((1, 2),), mode="hard", both=True)
    assert build_terms({"everything": {"limit": None}}, KNOWN)["everything"].loss == Everything()


def test_a_term_written_out_is_read_back_as_it_was():
    given = {"warm": {"kind": "kl", "temperature": 4, "weight": {"at": [[0, 0], [20, 1]], "between": "cosine"}}}
    terms = build_terms(given)
    assert build_terms({name: term.tree() for name, term in terms.items()}) == terms
    assert terms["warm"].tree()["weight"]["per"] == "step"


def test_what_says_nothing_new_is_not_in_a_digest():
    plain = build_terms({"kl": {}})["kl"]
    assert plain.tree("kl") == {"weight": 1.0} == build_terms({"kl": {"kind": "kl", "temperature": 1}})["kl"].tree("kl")
    assert plain.tree("soft") == {"kind": "kl", "weight": 1.0}
    assert build_terms({"kl": {"temperature": 4}})["kl"].tree("kl") == {"weight": 1.0, "temperature": 4.0}


def test_a_loss_that_computes_something_else_now_is_told_apart_in_a_digest(monkeypatch):
    term = build_terms({"kl": {}})["kl"]
    monkeypatch.setattr(type(term.loss), "version", 2)
    assert term.tree("kl") == {"version": 2, "weight": 1.0}


@pytest.mark.parametrize(
    ("between", "middle"), [("linear", 0.25), ("constant", 0.0), ("cosine", 0.5 * (1 - math.cos(math.pi / 4)))]
)
def test_a_scheduled_weight_moves_between_its_points(between, middle):
    weight = Schedule(at=((1.0, 0.0), (3.0, 1.0)), between=between)
    found = [weight_at(weight, step, 4) for step in (0, 4, 6, 12, 40)]  # epochs 0, 1, 1.5, 3, 10
    assert found == pytest.approx([0.0, 0.0, middle, 1.0, 1.0])


def test_a_weight_by_epochs_counts_them_from_1():
    weight = Schedule(at=((0.0, 0.0), (20.0, 1.0)), per="epoch")  # min(epoch / 20, 1), as of DKD
    assert [weight_at(weight, step, 4) for step in (0, 3, 4, 75, 76, 400)] == pytest.approx(
        [0.05, 0.05, 0.1, 0.95, 1, 1]
    )


@pytest.mark.parametrize("name", registry.built_in())
def test_every_loss_follows_the_contract(name):
    cls = registry.built_in()[name]
    term = build_terms({name: {}})[name]
    assert isinstance(term, Term)
    assert term.loss.reads.student
    assert len(registry.summary(cls)) > 20
    assert not {field.name for field in fields(cls)} & {"weight", "kind"}, "these belong to the term"
    assert build_terms({name: term.tree()})[name] == term


@dataclass(frozen=True)
class Heavy(Loss):
    weight: float = 3.0

    reads: ClassVar = Reads()


@dataclass(frozen=True)
class Versioned(Loss):
    version: int = 7

    reads: ClassVar = Reads()


@dataclass(frozen=True)
class Reading(Loss):
    reads: Reads = Reads(teacher={"logits"})  # noqa: RUF009 - the mistake that is tested


@dataclass(frozen=True)
class Failing(Loss):
    @property
    def reads(self):
        raise KeyError("taps")


@dataclass(frozen=True)
class Silent(Loss):
    limit: float = 1.0


@dataclass(frozen=True)
class Careful(Silent):
    reads: ClassVar = Reads()

    def __post_init__(self):
        raise KeyError("limit")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Heavy, "^.own: class Heavy has an option 'weight', a name that every term or loss has already; rename it$"),
        (Versioned, "^.own: class Versioned has an option 'version', .*; rename it, or write version: ClassVar = "),
        (Reading, "^.own: class Reading has an option 'reads', .*, or write reads: ClassVar = "),
        (Silent, "^.own: class Silent does not say what it reads; write reads: ClassVar = Reads"),
        (Careful, "^.own: KeyError: 'limit'$"),
        (
            Failing,
            r"^.own: reads of class Failing failed in line \d+ of test_loss_terms.py .KeyError: 'taps'.; correct",
        ),
    ],
)
def test_a_class_that_could_not_be_told_from_its_term_is_refused(cls, message):
    with pytest.raises(RecipeError, match=message):
        build_terms({"own": {"weight": 1.0}}, {"own": cls})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teacher": "logits"}, r"^Reads\(teacher='logits'\) is text; write teacher=\{'logits'\}$"),
        ({"batch": "label"}, "^Reads.batch='label'. is text"),
        ({"weights": {"students": {"classifier"}}}, "has 'students'; its keys are student and teacher$"),
        (
            {"batch": {"labels"}},
            r"^Reads\(batch=...\) has 'labels'; its keys are epoch, image, index, label, label_b, ",
        ),
        ({"batch": {"teacher"}}, r"^Reads\(batch=...\) has 'teacher'; its keys are epoch, image, "),
    ],
)
def test_a_loss_that_reads_what_there_is_not_or_the_letters_of_a_name_is_refused(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Reads(**given)
