"""The folder registry and its error messages, on a package written for the test."""

import sys

import pytest

from ssld.errors import RecipeError, did_you_mean
from ssld.registry import Registry

ENTRY = '''
"""Doubles a number.

More about it.
"""
from dataclasses import dataclass, field
from typing import ClassVar
from {package}.registry import THINGS

@dataclass
class NotRegistered:
    other: int = 0

@THINGS.register
@dataclass(frozen=True)
class Double:
    times: int
    note: str = "x"
    tags: list[str] = field(default_factory=list)
    kind: ClassVar[str] = "thing"
'''


@pytest.fixture
def things(tmp_path, monkeypatch):
    """A registry with the entries `double` (one required option) and `broken` (cannot be imported)."""
    package = f"things_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()
    source = f'from ssld.registry import Registry\nTHINGS = Registry("thing", __file__, {package!r})\n'
    (folder / "registry.py").write_text(source)
    (folder / "double.py").write_text(ENTRY.format(package=package))
    (folder / "broken.py").write_text('"""Imports what is not there."""\nimport no_such_module\n')
    (folder / "_helper.py").write_text("raise SystemExit('must not be imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(f"{package}.registry", fromlist=["THINGS"]).THINGS
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def test_names_are_the_files_of_the_folder(things):
    assert things.names() == ["broken", "double"]


def test_summary_and_options_are_read_without_importing_the_entry(things):
    assert things.summary("broken") == "Imports what is not there."
    assert things.summary("double") == "Doubles a number."
    assert things.options("double") == {"times": "int", "note": "str", "tags": "list[str]"}
    assert f"{things.package}.double" not in sys.modules


def test_build_constructs_the_registered_class(things):
    thing = things.build("double", times=3)
    assert (type(thing).__name__, thing.times, thing.note, thing.tags) == ("Double", 3, "x", [])
    assert things.get("double") is type(thing)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda things: things.build("duoble", times=1), r"^no thing named 'duoble'; did you mean 'double'\?$"),
        (lambda things: things.options("xyz"), "^no thing named 'xyz'$"),
        (lambda things: things.summary("_helper"), "^no thing named '_helper'"),
        (lambda things: things.build("double", tims=1), r"^thing 'double': no option 'tims'; did you mean 'times'\?$"),
        (lambda things: things.build("double"), "^thing 'double': option 'times' is required$"),
        (lambda things: things.build("double", times=1, kind="y"), "^thing 'double': no option 'kind'"),
    ],
)
def test_a_wrong_name_or_option_is_one_line_that_helps(things, call, message):
    with pytest.raises(RecipeError, match=message) as caught:
        call(things)
    assert "\n" not in str(caught.value)


def test_an_entry_that_cannot_be_imported_says_why(things):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        things.build("broken")


def test_two_classes_in_one_file_are_refused(things):
    first = things.get("double")
    assert things.register(first) is first
    second = type("Second", (), {"__module__": first.__module__})
    with pytest.raises(RecipeError, match="thing 'double': registered twice; one file holds one thing"):
        things.register(second)


def test_a_package_without_entries_has_no_names(tmp_path):
    assert Registry("thing", str(tmp_path / "registry.py"), "nowhere").names() == []


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("distil", ["teach", "distill"], "; did you mean 'distill'?"),
        ("ResNet5", ["ResNet50", "VGG16"], "; did you mean 'ResNet50'?"),
        ("zebra", ["teach", "distill"], ""),
        ("x", [], ""),
        (3, ["30", "77"], "; did you mean '30'?"),
    ],
)
def test_did_you_mean_suggests_a_near_name_and_stays_silent_otherwise(name, known, hint):
    assert did_you_mean(name, known) == hint
