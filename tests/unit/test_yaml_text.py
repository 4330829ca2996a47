"""YAML: a value is what it looks like or one line, for every reader; what comes from others is bounded."""

import copy
import math
import sys

import pytest
import yaml

from ssld import yaml_text
from ssld.config import cards, recipe, sweep
from ssld.errors import RecipeError, WeightsError
from ssld.spec import numerals
from ssld.weights import first_checksums
from tests.unit.some_recipe import TREE, changed, fails, written

DISPUTED = ["010", "00", "-07", "0_1", "0x10", "0xFF", "0o10", "0b101", "1:30", "16:9", "1:30.5", "190:20:30"]
"""YAML 1.1 reads each of these as a number of base 8, 16, 2 or 60, and YAML 1.2 reads some as others, or as text."""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10), ("-3", -3), ("+5", 5), ("0", 0), ("1_000", 1000), ("1_000.5", 1000.5), (".5", 0.5), ("5.", 5.0),
        ("1e5", 1e5), ("1E-5", 1e-5), ("-.5e3", -500.0), ("010.5", 10.5), ("0e5", 0.0),
        (".inf", math.inf), ("-.INF", -math.inf), ("9" * 39, int("9" * 39)),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"), ("true", True), ("FALSE", False),
        ("~", None), ("", None), ("null", None), ("inf", "inf"), ("nan", "nan"), ("1_", "1_"), ("1__0", "1__0"),
        ("2026-05-09", "2026-05-09"), ("2020-13-45", "2020-13-45"), ("1:60", "1:60"), ("1e5x", "1e5x"),
        ("0b12", "0b12"), ("=", "="),
        ("'010'", "010"), ('"1e5"', "1e5"), ("|\n 010", "010"), ("\uff11\uff10", "\uff11\uff10"),
    ],
)  # fmt: skip
def test_a_value_is_what_it_looks_like(text, value):
    found = yaml_text.parse(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_nan_has_its_name():
    assert math.isnan(yaml_text.parse("a: .nan")["a"])


@pytest.mark.parametrize("text", DISPUTED)
def test_what_readers_disagree_about_is_refused_with_its_line_and_quotes_make_it_text(text):
    with pytest.raises(RecipeError) as caught:
        yaml_text.parse(f"a: 1\nb: {text}")
    told = "means different numbers to different readers; write it in decimal digits, or quote a text"
    assert str(caught.value) == f"line 2: {text!r} {told}"
    assert yaml_text.parse(f"b: '{text}'") == {"b": text}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "line 2: key 'c' stands twice; remove one"),
        ("a: &x {c: 1}\nb: {<<: *x, <<: *x}", "line 2: key '<<' stands twice"),
        ("a: {<<: 3}", "line 1: << takes a mapping or a list of mappings, as in <<: *name; got 3"),
        ("? [a]\n: 1", "line 1: ['a'] is no key; write a name"),
        ("? {a: 1}\n: 1", "line 1: {'a': 1} is no key"),
        ("~: 1", "line 1: None is no key"),
        ("true: 1", "line 1: True is no key"),
        ("1.5: 1", "line 1: 1.5 is no key"),
        (
            "a: !!python/object/apply:os.getcwd []",
            "line 1: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' has",
        ),
        ("a: !!str 3", "line 1: the tag 'tag:yaml.org,2002:str' has no meaning here; leave it out, and quote a text"),
        ("a: !own {}", "line 1: the tag '!own' has no meaning"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here; keep one"),
        ("a: *b", "line 1: *b names nothing that ends before it; write &b at a value"),
        ("a: &a [*a]", "line 1: *a names nothing that ends before it"),
        ("a: ]", "line 1: not valid YAML (did not find expected node content)"),
        ("a: \x07", "not valid YAML (control characters are not allowed)"),
        ("a: \udcff", "not valid YAML (is not text in UTF-8)"),
        (f"a: {'9' * 6000}", "is a number of 6,000 characters; give 40 at most, or quote a text"),
        ("a: 1e400", "line 1: '1e400' is a number that is too large or too small to compute with"),
        ("a: 1e-400", "line 1: '1e-400' is a number that is too large or too small"),
        ("[" * 500, "line 1: lists and mappings lie more than 32 deep in each other here; give fewer"),
        ("- " * 500, "line 1: lists and mappings lie more than 32 deep"),
        ("[" * 100_000, "line 1: "),
        (f"a: {'x' * 2**20}", "has more than 1,048,576 bytes; give a smaller file"),
        (f"[{'1,' * 200_000}]", "line 1: there are more than 100,000 values up to here"),
    ],
)
def test_what_is_not_read_is_one_short_line(text, message):
    with pytest.raises(RecipeError) as caught:
        yaml_text.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
DEEP = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))
WIDE = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 6: there are more than"),
        (DEEP, "line 32: lists and mappings"),
        (WIDE, "line 2: there are more than"),
    ],
    ids=["bomb", "deep", "wide"],
)
def test_what_aliases_repeat_counts_as_often_as_they_repeat_it(text, message):
    with pytest.raises(RecipeError, match=message):
        yaml_text.parse(text)


def test_a_merge_key_takes_over_what_the_mapping_does_not_say_itself():
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\none: {<<: *a, y: 5}\nmore: {w: 0, <<: [*a, *b]}\nquoted: {'<<': 1}"
    tree = yaml_text.parse(text)
    assert tree["one"] == {"x": 1, "y": 5}
    assert tree["more"] == {"x": 1, "y": 2, "z": 4, "w": 0}  # an earlier mapping wins
    assert tree["quoted"] == {"<<": 1}


def test_an_alias_is_a_copy_so_that_an_override_of_one_leaves_the_other(tmp_path):
    text = yaml.safe_dump({key: TREE[key] for key in TREE if key != "stages"}) + (
        "stages:\n"
        "  teach: {network: teacher, epochs: 2, loss: {ce: {}}}\n"
        "  plain: &plain {epochs: 3, loss: {ce: {}}, optim: {lr: 0.2}}\n"
        "  again: {<<: *plain, epochs: 5}\n"
    )
    plan = recipe.load(written(tmp_path, text), ["stages.plain.optim.lr=0.3"])
    assert [(stage.epochs, stage.optim.lr) for stage in list(plan.stages.values())[1:]] == [(3, 0.3), (5, 0.2)]


def test_what_is_written_is_read_again_by_this_reader_and_by_one_of_yaml_1_1():
    texts = ["1e5", "010", "1_000", "off", "2026-05-09", "<<", "~", ".5", "1:30", "0o10", "0x1F", "+1", ".inf", "TRUE"]
    texts += ["", "=", "a\nb", "é", " x", "- a", "{a", "#", "1e-5", "0b1", "*a", "&a", "!a", "null", "9" * 60, "1__0"]
    tree = {"texts": texts, "1e3": [1e-5, 0.1, 1, True, None, -math.inf, 10**20, 1e300], "": {}, "x": [[], {}, [[1]]]}
    written_text = yaml_text.dump(copy.deepcopy(tree))
    assert yaml_text.parse(written_text) == tree
    assert yaml.safe_load(written_text) == tree


def test_every_text_is_read_as_text_a_number_or_is_refused_and_the_pattern_of_what_is_quoted_agrees():
    letters = "0179._:xoe+-"
    for first in letters:
        for second in letters:
            for third in letters:
                for text in (first + second, first + second + third, f"{first}{second}{third}1"):
                    try:
                        is_number = numerals.number(text) is not None
                    except ValueError:
                        is_number = True
                    assert is_number == bool(numerals.PATTERN.match(text)), text


READERS = {
    "recipe": lambda folder, text: recipe.load(written(folder, text)),
    "base": lambda folder, text: recipe.load(
        written(folder, f"base: {written(folder, text, 'base.yaml').name}", "r.yaml")
    ),
    "sweep": lambda folder, text: sweep.load(str(written(folder, text))),
    "card": lambda folder, text: cards.find_teacher(str(written(folder, text))),
    "pins": lambda folder, text: first_checksums.read(written(folder, text)),
    "override": lambda folder, text: recipe.load(written(folder, TREE), [f"student={text}"]),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "text", ["{a: 010}", "{a: !!python/name:os.system }", "{a: 1, a: 2}", "{[a]: 1}", BOMB, "{a: *b}"]
)
def test_every_reader_refuses_the_same_with_one_line(tmp_path, name, text):
    with pytest.raises((RecipeError, WeightsError)) as caught:
        READERS[name](tmp_path, text)
    line = str(caught.value)
    assert "\n" not in line
    assert any(
        part in line
        for part in ("different numbers", "the tag", "stands twice", "no key", "more than", "names nothing")
    )


@pytest.mark.parametrize("name", [name for name in READERS if name != "override"])
@pytest.mark.parametrize("text", ["- 1", "3", "a: [1"])
def test_a_file_without_a_mapping_is_one_line(tmp_path, name, text):
    with pytest.raises((RecipeError, WeightsError)) as caught:
        READERS[name](tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    (tmp_path / "folder.yaml").mkdir()
    for name, why in (
        ("none", "there is no such file"),
        ("folder", "there is no such file"),
        ("latin", "not text in UTF-8"),
    ):
        with pytest.raises(
            RecipeError, match=rf"{name}\.yaml: cannot be read \({why}|{name}\.yaml: cannot be read \(is {why}"
        ):
            yaml_text.read(tmp_path / f"{name}.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert yaml_text.read(tmp_path / "a.yaml") == {"a": 1}


def test_a_number_of_more_digits_than_python_writes_is_one_line():
    tree = changed(TREE, "seed", 10 ** sys.get_int_max_str_digits())
    assert "seed: should be an integer from 0 to" in fails(recipe.of_mapping, tree)


def test_classes_in_octal_is_refused_and_named_with_file_and_line(tmp_path):
    line = fails(lambda text: recipe.load(written(tmp_path, text)), "classes: 010")
    assert "some.yaml: line 1: '010' means different numbers to different readers; write it in decimal" in line
