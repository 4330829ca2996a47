"""Python files of one's own that a recipe names: imported before it is checked, known by their content.

A file is named relative to the recipe. Its digest covers the file and the modules of its own folder that it imports
when it is loaded. A run folder keeps a copy of them, so that what a run made can be opened when the originals have
changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.files import json_digest, sha256

COPIES = "code"  # folder of a run, holds a folder a file, named by the beginning of its digest
SHORT = 16  # digits of a digest in the name of that folder


@dataclass(frozen=True)
class OwnFile:
    """A file that was loaded. contents: path below its folder -> text, of itself and of what it imports from there, as
    they were then: the files may change while a process runs.
    """

    path: Path
    contents: Mapping[str, bytes]
    module: ModuleType

    @cached_property
    def parts(self) -> dict[str, str]:
        """Path below the folder -> sha256."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.contents.items()}

    @property
    def digest(self) -> str:
        """sha256, in hexadecimal, over names and contents; it does not depend on where the file lies."""
        return json_digest(self.parts)

    @property
    def is_current(self) -> bool:
        """Whether the files on the disk are still those that were loaded."""
        return all(_content(self.path.parent / name) == content for name, content in self.parts.items())


_LOADED: dict[str, OwnFile] = {}  # digest -> file; a process may load several contents of one path
_BY_PATH: dict[Path, OwnFile] = {}  # what was loaded last from a path


def is_code(text: str) -> bool:
    """Whether a value of a recipe names something in a Python file: `nets.py:Tiny`."""
    return ".py:" in text


def split(text: str) -> tuple[str, str]:
    """`nets.py:Tiny` -> the file and the name in it."""
    file, _, name = text.rpartition(":")
    return file, name


def load(files: Iterable[str], folder: Path) -> dict[str, str]:
    """Import files, named relative to `folder`; returns file -> digest. RecipeError for one that cannot be imported."""
    return {str(file): _load(folder / file, str(file)).digest for file in files}


def reload(known: Mapping[str, str], run: Path) -> None:
    """Import the copies that a run folder keeps of the files of its plan. RunError where one is missing or changed."""
    for file, digest in known.items():
        if digest in _LOADED:
            continue
        copy = run / COPIES / digest[:SHORT] / Path(file).name
        if not copy.is_file():
            raise RunError(f"{copy}: the copy of {file} that this run was made with is missing; put it back")
        if _load(copy, str(copy)).digest != digest:
            raise RunError(f"{copy}: is not the {file} that this run was made with; restore it, or run the recipe anew")


def keep(known: Mapping[str, str], run: Path) -> None:
    """Copy the files of a plan into the folder of its run."""
    for digest in known.values():
        for name, content in _LOADED[digest].contents.items():
            copy = run / COPIES / digest[:SHORT] / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.is_file():
                copy.write_bytes(content)


def modules(known: Mapping[str, str]) -> dict[str, ModuleType]:
    """File -> module, of files that `load` or `reload` has imported."""
    return {file: _LOADED[digest].module for file, digest in known.items()}


def find(name: str, known: Mapping[str, str]) -> Any:
    """What `file.py:Name` means: an attribute of the module of a file of a plan. RecipeError when there is none."""
    file, attribute = split(name)
    if file not in known:
        raise RecipeError(f"{name}: the file {file} is not among the recipe's code{did_you_mean(file, known)}")
    module = _LOADED[known[file]].module
    if not hasattr(module, attribute):
        raise RecipeError(f"{name}: nothing in {file} has this name{did_you_mean(attribute, vars(module))}")
    return getattr(module, attribute)


def file_of(value: Any, known: Mapping[str, str]) -> str | None:
    """The file among a plan's code that defines a class or function, None where none does."""
    return next((file for file, module in modules(known).items() if module.__name__ == value.__module__), None)


def _load(path: Path, name: str) -> OwnFile:
    path = path.resolve()
    if path in _BY_PATH and _BY_PATH[path].is_current:
        return _BY_PATH[path]
    if path.suffix != ".py" or not path.is_file():
        raise RecipeError(f"{name}: no such Python file; it is named relative to the recipe")
    title, text = f"ssld_own_{len(_LOADED)}_{path.stem}", path.read_bytes()
    loader = _Text(title, str(path), text, _shown(path, text))
    spec = importlib.util.spec_from_file_location(title, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with _neighbours(path.parent) as imported:
        sys.modules[title] = module
        try:
            loader.exec_module(module)
        except SyntaxError as error:
            raise RecipeError(f"{name}: line {error.lineno}: {error.msg}; correct the file") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RecipeError(f"{name}: cannot be imported ({reason}); correct the file") from error
    beside = {file: file.read_bytes() for file in imported}
    for file, content in beside.items():
        _pin(str(file), content)
    contents = {file.relative_to(path.parent).as_posix(): content for file, content in ({path: text} | beside).items()}
    own = OwnFile(path, dict(sorted(contents.items())), module)
    _BY_PATH[path] = own
    return _LOADED.setdefault(own.digest, own)


class _Text(SourceFileLoader):
    """Loads a module from a text that was read already; `shown` is the file that tracebacks and `inspect` name."""

    def __init__(self, title: str, path: str, text: bytes, shown: str):
        super().__init__(title, path)
        self.text, self.shown = text, shown
        _pin(shown, text)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.text, self.shown)


def _shown(path: Path, text: bytes) -> str:
    """The path itself; of another content that this process loads from there, nets@1a2b3c4d.py for nets.py."""
    if path not in _BY_PATH:
        return str(path)
    return str(path.with_stem(f"{path.stem}@{hashlib.sha256(text).hexdigest()[:8]}"))


def _pin(file: str, text: bytes) -> None:
    """Let `inspect` give the text that was loaded, whatever becomes of the file: Paddle traces a network by its text,
    for the export at the end of a training that may have taken days.
    """
    try:
        lines = decode_source(text).splitlines(keepends=True)
    except (SyntaxError, UnicodeDecodeError):
        return  # importing it says what is wrong
    linecache.cache[file] = (len(text), None, lines, file)  # without a time it is never read again


@contextmanager
def _neighbours(folder: Path) -> Iterator[list[Path]]:
    """Inside, modules of `folder` can be imported; afterwards the list holds their files, and no name is left
    behind. No compiled files are written: Python would take one for a text of the same size of the same second.
    """
    before, found, compiled = set(sys.modules), list[Path](), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield found
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = compiled
        new = {name for name in set(sys.modules) - before if not name.startswith("ssld_own_")}
        ours = {name for name in new if "." not in name and _lies_in(sys.modules[name], folder)}
        for name in sorted(name for name in new if name.partition(".")[0] in ours):
            if file := getattr(sys.modules[name], "__file__", None):
                found.append(Path(file).resolve())
            del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether a module without a dot in its name is a file of the folder, or a package directly in it."""
    file = getattr(module, "__file__", None)
    places = (
        [Path(file).resolve().parent] if file else [Path(place).resolve() for place in getattr(module, "__path__", ())]
    )
    return any(folder in ((place, place.parent) if hasattr(module, "__path__") else (place,)) for place in places)


def _content(file: Path) -> str | None:
    return sha256(file) if file.is_file() else None
