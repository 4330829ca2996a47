"""Build the terms of a stage's `loss:` block: each has a name, a kind of loss, options and a weight."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeVar, cast, get_args

import pydantic

from ssld.errors import RecipeError, call_own, did_you_mean, shown
from ssld.losses.base import LOGITS, Loss, Reads, Shape
from ssld.losses.confidence import Confidence
from ssld.losses.registry import built_in, find
from ssld.losses.schedule import Schedule, Weight
from ssld.losses.stages import BEFORE, is_open, of_stages
from ssld.losses.views import named
from ssld.spec.ranges import Factor, check

OWN = ("kind", "weight", "side", "min_teacher", "student_view", "teacher_view")
"""Keys of a term that are no options of its loss."""


Side = Literal["task", "distil"]
T = TypeVar("T")


@dataclass(frozen=True)
class Term:
    """Describe one loss of the weighted sum. `kind` is the name of the loss, which may stand in several terms.

    `side`: where an optimiser that takes two gradients puts it, if not where `learns_from` would. `min_teacher`: which
    images count, by how sure the teacher is of them; with None all of them. `student_view`, `teacher_view`: the view of
    the stage whose images the outputs are of, in which the loss compares student and teacher; None is the first one.
    """

    kind: str
    weight: Weight
    loss: Loss
    side: Side | None = None
    min_teacher: Confidence | None = None
    student_view: str | None = None
    teacher_view: str | None = None

    @property
    def learns_from(self) -> Side:
        """Return the side of the term: the distillation for a loss that reads a teacher, else the task."""
        return self.side or ("distil" if self.loss.reads.teacher else "task")

    @property
    def reads(self) -> Reads:
        """Return what the term reads: what its loss reads, by views, and the teacher's logits where they select images
        or give labels.
        """
        reads = self.loss.reads
        asked = self.min_teacher or ("label" in reads.batch and self.loss.on_unlabelled() == "teacher_argmax")
        return Reads(
            student={named(self.student_view, output) for output in reads.student},
            teacher={named(self.teacher_view, output) for output in reads.teacher | (LOGITS if asked else frozenset())},
            batch=reads.batch,
            weights=reads.weights,
            each=reads.each,
        )

    def tree(self, name: str | None = None) -> dict[str, object]:
        """Return the term as a recipe writes it, with every default; with the `name` it has, as it enters a digest.

        A digest leaves out what says nothing new: a kind that is the name, and an option at its default. So an option
        that a loss gains later changes no digest, and it is the same whether a default was written or not.
        """
        options = {field.name: _json(getattr(self.loss, field.name)) for field in dataclasses.fields(self.loss)}
        weight = _json(dataclasses.asdict(self.weight) if isinstance(self.weight, Schedule) else self.weight)
        more = {
            "side": self.side,
            "min_teacher": self.min_teacher and dataclasses.asdict(self.min_teacher),
            "student_view": self.student_view,
            "teacher_view": self.teacher_view,
        }
        if name is None:
            return {"kind": self.kind, "weight": weight, **more, **options}
        changed = {
            key: value for key, value in options.items() if value != _json(_defaults(type(self.loss)).get(key, ...))
        }
        kind = {} if self.kind == name else {"kind": self.kind}
        version = {} if self.loss.version == 1 else {"version": self.loss.version}
        given = {key: value for key, value in more.items() if value is not None}
        return {**kind, **version, "weight": weight, **given, **changed}


def build_terms(tree: object, known: Mapping[str, type[Loss]] | None = None) -> dict[str, Term]:
    """Build the terms of a mapping {name: {kind: ..., weight: ..., option: value}}.

    `kind` is the name unless it is given, `weight` 1. `known`: the losses there are, by default those of this package.
    It raises RecipeError, whose message begins with the path below `loss`, for no terms, an unknown loss or option
    (with the nearest name), a value of the wrong type or out of range, a missing option, and weights that are negative
    or all 0.
    """
    if not isinstance(tree, Mapping) or not tree:
        raise RecipeError(": no terms; name at least one loss, such as ssld: {weight: 1.0}")
    terms = {
        str(name): _term(str(name), term_tree, built_in() if known is None else known)
        for name, term_tree in tree.items()
    }
    if all(term.weight == 0 for term in terms.values()):
        raise RecipeError(": every weight is 0; give one loss a positive weight")
    return terms


def _term(name: str, tree: object, known: Mapping[str, type[Loss]]) -> Term:
    if isinstance(tree, Term):
        return tree
    tree = {} if tree is None else tree
    if not isinstance(tree, Mapping):
        raise RecipeError(f".{name}: {shown(tree)} is not a mapping; write {name}: {{weight: 1.0}}")
    kind = tree.get("kind", name)
    try:
        cls = find(str(kind), known)
    except RecipeError as error:
        raise RecipeError(f".{name}: {error}") from None
    check_fields(cls, f".{name}")
    options = {key: value for key, value in tree.items() if key not in OWN}
    accepted = keys_of(name, tree, known)
    for key in options:
        if key not in accepted:
            raise RecipeError(f".{name}: no option {key!r}{did_you_mean(str(key), accepted)}")
    return term_of(name, str(kind), _typed(cls, options, f".{name}"), tree)


def keys_of(name: str, tree: object, known: Mapping[str, type[Loss]]) -> list[str]:
    """Return the keys that the term `name` may have: those of every term, and the options of its kind of loss.

    Raises RecipeError for a kind that is none of the `known` losses.
    """
    kind = tree.get("kind", name) if isinstance(tree, Mapping) else name
    return [*OWN, *(field.name for field in dataclasses.fields(find(str(kind), known)))]


def check_fields(cls: type[Loss], where: str) -> None:
    """Check the names of a loss's options. Raises RecipeError for one that every term or loss uses otherwise."""
    taken = {*OWN, *Loss.__annotations__, *(key for key in vars(Loss) if not key.startswith("_"))}
    if wrong := [field.name for field in dataclasses.fields(cls) if field.name in taken]:
        what = f"class {cls.__name__} has an option {wrong[0]!r}, a name that every term or loss has already"
        mend = "rename it" if wrong[0] in OWN else f"rename it, or write {wrong[0]}: ClassVar = ... if it is no option"
        raise RecipeError(f"{where}: {what}; {mend}")


def term_of(name: str, kind: str, loss: Loss, given: Mapping[str, object]) -> Term:
    """Build the term `name` of a loss, with what `given` says of the other keys of OWN. Raises as `build_terms`."""
    check_fields(type(loss), f".{name}")
    reads = call_own(getattr, f".{name}: reads of class {type(loss).__name__}", loss, "reads", None)
    if not isinstance(reads, Reads):
        what = f"class {type(loss).__name__} does not say what it reads"
        raise RecipeError(f".{name}: {what}; write reads: ClassVar = Reads(...) in it")
    views = {key: _view(f".{name}.{key}", given.get(key)) for key in ("student_view", "teacher_view")}
    weight, side = _weight(name, given.get("weight", 1.0)), _side(name, given.get("side"))
    return Term(kind, weight, loss, side, _confidence(name, given.get("min_teacher")), **views)


def _view(where: str, tree: object) -> str | None:
    if tree is not None and (not isinstance(tree, str) or not tree):
        raise RecipeError(f"{where}: {shown(tree)} is no name; give that of a view in data.views, or leave it out")
    return tree


def _confidence(name: str, tree: object) -> Confidence | None:
    if tree is None:
        return None
    options = tree if isinstance(tree, Mapping) else {"value": tree}
    return _typed(Confidence, options, f".{name}.min_teacher")


def _side(name: str, tree: object) -> Side | None:
    if tree is not None and tree not in get_args(Side):
        raise RecipeError(f".{name}.side: {shown(tree)} is no side; give task or distil, or leave it out")
    return cast("Side | None", tree)


def _weight(name: str, tree: object) -> Weight:
    if isinstance(tree, Mapping):
        return _typed(Schedule, tree, f".{name}.weight")
    check(Factor, tree, f".{name}.weight")
    return float(cast("float", tree))


def _typed(cls: type[T], options: Mapping[str, object], where: str) -> T:
    """Make a dataclass of plain values.

    JSON is checked strictly: a list is a tuple, 4 is 4.0, and "4" or true are neither.
    """
    try:
        adapter: pydantic.TypeAdapter[T] = _adapter(cls)  # type: ignore[arg-type]  # mypy: no hash in type[T]
        return adapter.validate_json(json.dumps(options), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([where, *map(str, first["loc"])])
        if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            raise RecipeError(f"{path}: this option is required; add it") from None
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise RecipeError(f"{path}: {reason[0].lower()}{reason[1:]}; got {shown(first['input'])}") from None
    except RecipeError as error:  # a loss or a schedule refuses its options
        raise RecipeError(f"{where}.{error}") from None
    except Exception as error:  # a value that no YAML gives, or other people's __post_init__
        raise RecipeError(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}") from error


@cache
def _adapter(cls: type[T]) -> pydantic.TypeAdapter[T]:
    return pydantic.TypeAdapter(cls)


def _defaults(cls: type[Loss]) -> dict[str, object]:
    fields = dataclasses.fields(cls)
    values: dict[str, object] = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    return values | {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}


def _json(value: object) -> object:
    """Turn tuples into lists, as YAML and JSON have them."""
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list | tuple) else value


def teacher_reads(terms: Iterable[Term]) -> frozenset[str]:
    """Return the outputs of a teacher that any of the terms reads; none where the stage needs no teacher."""
    return frozenset().union(*(term.reads.teacher for term in terms))


def student_reads(terms: Iterable[Term]) -> frozenset[str]:
    """Return the outputs of the student that any of the terms reads."""
    return frozenset().union(*(term.reads.student for term in terms))


def are_open(terms: Iterable[Term]) -> bool:
    """Return whether one of the terms leaves open which stages of the networks it reads."""
    return any(is_open(term.loss.reads.student | term.loss.reads.teacher) for term in terms)


def fitted(
    terms: Mapping[str, Term], student: Mapping[str, Shape], teacher: Mapping[str, Shape]
) -> tuple[dict[str, Term], list[str]]:
    """Return the terms with taps that two networks have where they leave that open, and remarks on what was chosen.

    student, teacher: the shape of each tap of a stage, without the batch. Raises RecipeError, one line, where nothing
    fits.
    """
    chosen, remarks = {}, []
    for name, term in terms.items():
        chosen[name] = term
        if are_open([term]):
            try:
                chosen[name] = replace(term, loss=term.loss.fitted(student, teacher))
            except RecipeError as error:
                raise RecipeError(f"loss {name}: {error}") from None
            remarks += [f"loss {name}: {remark}" for remark in unlike_default(term.loss, chosen[name].loss)]
    return chosen, remarks


def unlike_default(loss: Loss, chosen: Loss) -> list[str]:
    """Say of which stages the loss `chosen` reads what they give, where `loss` asks for what enters an activation."""
    said = []
    for role in ("student", "teacher"):
        asked, read = getattr(loss.reads, role), getattr(chosen.reads, role)
        plain = sorted(tap for tap in of_stages(read) if "." not in tap) if BEFORE in asked else []
        if plain:
            said.append(f"of the {role} {', '.join(plain)} have no tap before an activation and are taken as they are")
    return said
