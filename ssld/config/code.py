"""Import Python files of one's own that a recipe names. They are known by their content.

They are imported before the recipe is checked. A file is named relative to the recipe. Its digest covers the file and
the modules of its own folder that it imports when it is loaded. A run folder keeps a copy of them, so that what a run
made can be opened when the originals have changed.
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

from ssld.config.run_folder import AGAIN
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.files import PARTIAL, clear, json_digest, sha256, whole

COPIES = "code"  # folder of a run, with a folder for each file that is named by the beginning of its digest
SHORT = 16  # digits of a digest in the name of that folder


@dataclass(frozen=True)
class OwnFile:
    """Hold a file that was loaded.

    `contents` maps a path below its folder to the text, for the file itself and for what it imports from there. It is
    the text at the time of loading, because the files may change while a process runs.
    """

    path: Path
    contents: Mapping[str, bytes]
    module: ModuleType

    @cached_property
    def parts(self) -> dict[str, str]:
        """Map each path below the folder to its sha256."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.contents.items()}

    @property
    def digest(self) -> str:
        """Return the sha256, in hexadecimal, over names and contents. It does not depend on the folder of the file."""
        return json_digest(self.parts)

    @property
    def is_current(self) -> bool:
        """Return whether the files on the disk are still those that were loaded."""
        return all(_content(self.path.parent / name) == content for name, content in self.parts.items())


_LOADED: dict[str, OwnFile] = {}  # maps a digest to its file; a process may load several contents of one path
_BY_PATH: dict[Path, OwnFile] = {}  # maps a path to the file that was loaded last from it


def is_code(text: str) -> bool:
    """Return whether a value of a recipe names something in a Python file, such as `nets.py:Tiny`."""
    return ".py:" in text


def split(text: str) -> tuple[str, str]:
    """Split `nets.py:Tiny` into the file and the name in it."""
    file, _, name = text.rpartition(":")
    return file, name


def load(files: Iterable[str], folder: Path) -> dict[str, str]:
    """Import files, named relative to `folder`, and map each to its digest.

    Raises RecipeError for a file that cannot be imported.
    """
    return {str(file): _load(folder / file, str(file)).digest for file in files}


def reload(digests: Mapping[str, str], run: Path) -> None:
    """Import the copies that a run folder keeps of the files of its plan.

    Raises RunError where a copy is missing or changed. Nothing of it is then executed.
    """
    for file, digest in digests.items():
        if digest in _LOADED:
            continue
        folder = run / COPIES / digest[:SHORT]
        copy = folder / Path(file).name
        if not copy.is_file():
            raise RunError(f"{copy}: the copy of {file} that this run was made with is missing; {AGAIN}")
        if _digest_of_copies(folder) != digest:
            raise RunError(f"{copy}: is not the {file} that this run was made with; {AGAIN}")
        _load(copy, str(copy))


def _digest_of_copies(folder: Path) -> str | None:
    """Return the digest of the files in a folder as `OwnFile.digest` counts it; None where one cannot be read."""
    files = [path for path in folder.rglob("*") if path.is_file() and not PARTIAL.search(path.name)]
    try:
        return json_digest({path.relative_to(folder).as_posix(): sha256(path) for path in files})
    except OSError:
        return None


def keep(digests: Mapping[str, str], run: Path) -> None:
    """Copy the files of a plan into the folder of its run, where the same copies are not there yet.

    What killed processes have left of these copies is removed. Raises OSError where the disk does not take them.
    """
    for digest in digests.values():
        for name, content in _LOADED[digest].contents.items():
            copy = run / COPIES / digest[:SHORT] / name
            if _content(copy) != hashlib.sha256(content).hexdigest():
                copy.parent.mkdir(parents=True, exist_ok=True)
                with whole(copy) as partial:
                    partial.write_bytes(content)
            clear(copy.parent, copy.name)


def modules(digests: Mapping[str, str]) -> dict[str, ModuleType]:
    """Map files that `load` or `reload` has imported to their modules."""
    return {file: _LOADED[digest].module for file, digest in digests.items()}


def find(name: str, digests: Mapping[str, str]) -> object:
    """Return what `file.py:Name` means: an attribute of the module of a file of a plan.

    Raises RecipeError when there is no such attribute.
    """
    file, attribute = split(name)
    if file not in digests:
        raise RecipeError(f"{name}: the file {file} is not among the recipe's code{did_you_mean(file, digests)}")
    module = _LOADED[digests[file]].module
    if not hasattr(module, attribute):
        raise RecipeError(f"{name}: nothing in {file} has this name{did_you_mean(attribute, vars(module))}")
    return getattr(module, attribute)


def file_of(value: object, digests: Mapping[str, str]) -> str | None:
    """Return the file among a plan's code that defines a class or function, or None where none does."""
    return next((file for file, module in modules(digests).items() if module.__name__ == value.__module__), None)


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
    imported_texts = {file: file.read_bytes() for file in imported}
    for file, content in imported_texts.items():
        _pin(str(file), content)
    contents = {
        file.relative_to(path.parent).as_posix(): content for file, content in ({path: text} | imported_texts).items()
    }
    own_file = OwnFile(path, dict(sorted(contents.items())), module)
    _BY_PATH[path] = own_file
    return _LOADED.setdefault(own_file.digest, own_file)


class _Text(SourceFileLoader):
    """Load a module from a text that was read already. Tracebacks and `inspect` name the file `shown`."""

    def __init__(self, title: str, path: str, text: bytes, shown: str):
        super().__init__(title, path)
        self.text, self.shown = text, shown
        _pin(shown, text)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.text, self.shown)


def _shown(path: Path, text: bytes) -> str:
    """Return the name that tracebacks show for a file.

    It is the path itself. For another content that this process loads from there it is nets@1a2b3c4d.py instead of
    nets.py.
    """
    if path not in _BY_PATH:
        return str(path)
    return str(path.with_stem(f"{path.stem}@{hashlib.sha256(text).hexdigest()[:8]}"))


def _pin(file: str, text: bytes) -> None:
    """Let `inspect` give the text that was loaded, even when the file changes.

    Paddle traces a network by its text for the export, at the end of a training that may have taken days.
    """
    try:
        lines = decode_source(text).splitlines(keepends=True)
    except (SyntaxError, UnicodeDecodeError):
        return  # the import of the file reports the error
    linecache.cache[file] = (len(text), None, lines, file)  # an entry without a time is never read again


@contextmanager
def _neighbours(folder: Path) -> Iterator[list[Path]]:
    """Let modules of `folder` be imported inside the block.

    Afterwards the list holds their files, and no name is left behind. No compiled files are written, because Python
    would take one for a text of the same size and of the same second.
    """
    names_before, files, compiled = set(sys.modules), list[Path](), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield files
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = compiled
        new_names = {name for name in set(sys.modules) - names_before if not name.startswith("ssld_own_")}
        neighbours = {name for name in new_names if "." not in name and _lies_in(sys.modules[name], folder)}
        for name in sorted(name for name in new_names if name.partition(".")[0] in neighbours):
            if file := getattr(sys.modules[name], "__file__", None):
                files.append(Path(file).resolve())
            del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Return whether a module without a dot in its name is a file of the folder, or a package directly in it."""
    file = getattr(module, "__file__", None)
    directories = (
        [Path(file).resolve().parent]
        if file
        else [Path(directory).resolve() for directory in getattr(module, "__path__", ())]
    )
    return any(
        folder in ((directory, directory.parent) if hasattr(module, "__path__") else (directory,))
        for directory in directories
    )


def _content(file: Path) -> str | None:
    return sha256(file) if file.is_file() else None
