"""One file a command, whose function takes what the parser knows of the command, and nobody else sees argparse."""

import argparse
import ast
import inspect
import subprocess
import sys
from typing import get_type_hints

import pytest

from ssld import cli
from ssld.arguments import COMMANDS, parser
from tests.unit.test_imports import COMMAND_MODULES, ROOT, SOURCES, imports, unit

each_command = pytest.mark.parametrize("command", COMMANDS)
BEHIND_THE_COMMAND_LINE = [file for file in SOURCES if unit(file) not in ("cli", "arguments")]


def subparser(command):
    """The parser of one command."""
    (choices,) = (action.choices for action in parser()._actions if action.dest == "command")
    return choices[command]


def destinations(command):
    """The names under which the parser of a command puts what was typed."""
    actions = [action for action in subparser(command)._actions if not isinstance(action, argparse._HelpAction)]
    return {action.dest for action in actions} - set(cli.OWN)


def test_every_command_has_a_file_of_its_name_and_every_file_is_a_command():
    assert sorted(f"ssld.commands.{command}" for command in COMMANDS) == sorted(COMMAND_MODULES)


@each_command
def test_the_file_of_a_command_has_one_public_function_of_its_name(command):
    function = cli.function(command)
    module = inspect.getmodule(function)
    functions = [
        name
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert functions == [function.__name__]
    assert function.__name__.rstrip("_") == command


@each_command
def test_a_function_takes_every_option_of_its_command_and_nothing_else(command):
    parameters = inspect.signature(cli.function(command)).parameters
    assert set(parameters) == destinations(command) | cli.FROM_OWN.get(command, {}).keys()
    for parameter in parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is inspect.Parameter.empty  # defaults stand in the parser alone


@each_command
def test_a_function_says_its_types_and_what_it_does(command):
    function = cli.function(command)
    annotations = inspect.get_annotations(function)
    assert set(annotations) == {*inspect.signature(function).parameters, "return"}
    for name, annotation in annotations.items():
        assert str(annotation) not in ("typing.Any", "Any", "<class 'argparse.Namespace'>"), name
    assert inspect.getdoc(function).split("\n\n")[0].endswith(".")


def choices_of(annotation):
    """The values that a type names: of `Literal["a", "b"] | None` and of a sequence of such the a and the b."""
    values = getattr(annotation, "__args__", ())
    return {v for value in values for v in (choices_of(value) or ({value} if isinstance(value, str) else set()))}


@each_command
def test_a_parameter_may_be_what_the_parser_lets_through(command):
    types = get_type_hints(cli.function(command))
    for action in subparser(command)._actions:
        if action.choices is not None:
            assert choices_of(types[action.dest]) == set(action.choices), action.dest


@each_command
def test_the_help_is_in_whole_sentences(command):
    assert COMMANDS[command].summary.endswith(".")
    for action in subparser(command)._actions:
        if action.dest != "help":
            assert action.help, f"{action.dest} has no help"
            assert action.help.endswith("."), action.help


def mentions(file):
    """Why a file knows of argparse: its import, the name Namespace, or a parameter or attribute that is one."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {name for name in imports(file) if name.split(".")[0] == "argparse"}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            found |= {name} & {"Namespace"}
        if isinstance(node, ast.arg) and node.arg == "args" and node not in varargs(tree):
            found.add("a parameter args")
    return found


def varargs(tree):
    """The `*args` of functions: they have nothing to do with argparse."""
    return [node.args.vararg for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Lambda))]


@pytest.mark.parametrize("file", BEHIND_THE_COMMAND_LINE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_behind_the_command_line_knows_of_argparse(file):
    assert not mentions(file)


@pytest.mark.parametrize(
    "text",
    [
        "import argparse\n",
        "from argparse import Namespace as N\n",
        "def f(args): pass\n",
        "def f(x: 'int', *, args=None): pass\n",
        "import x\ndef f(a: x.Namespace): pass\n",
    ],
)
def test_a_file_that_knows_of_argparse_is_found(text, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.unit.test_imports.ROOT", tmp_path)
    file = tmp_path / "ssld" / "x.py"
    file.parent.mkdir()
    file.write_text(text)
    assert mentions(file)
    file.write_text("def f(*args): pass\nfrom types import SimpleNamespace\nSimpleNamespace()\n")
    assert not mentions(file)


def test_the_parser_describes_and_only_the_command_line_has_a_namespace():
    (file,) = (file for file in SOURCES if unit(file) == "arguments")
    assert "Namespace" not in mentions(file)


def test_no_command_prints(tmp_path):
    for file in SOURCES:
        if unit(file) == "commands":
            names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
            assert not names & {"print", "sys", "input"}, file


def test_the_files_of_all_commands_load_neither_paddle_nor_an_engine_nor_a_tracker():
    heavy = ["paddle", "nvidia.dali", "wandb", "onnxruntime", "openvino", "onnx"]
    code = f"import sys, {', '.join(COMMAND_MODULES)}\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_rank_is_started_with_the_words_that_were_typed(monkeypatch, tmp_path):
    from ssld import processes

    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(processes, "call", lambda command, ranks_of: started.append(command) or 1)
    words = ["run", "--ranks", "2", "quickstart", "--device", "cpu", "seed=3", "--out", "o", "--wandb-tags", "b,,a"]
    with pytest.raises(SystemExit, match=r"^ssld run: 2 ranks: ended with code 1; the same command resumes; their"):
        cli.main(words)
    (command,) = started
    assert command[-len(words) :] == words
    assert command[-len(words) - 1].endswith("ssld/__main__.py")
