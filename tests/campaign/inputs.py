"""Give commands what is wrong: values of every key of a recipe, paths, and weights that somebody made to do harm.

Each answer must be one line on standard error and an exit code; nothing is run, and every file that was there stays as
it was. Commands run in the process of the caller, many in a second.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import pickle
import re
import shutil
import struct
import sys
import tarfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.campaign.commands import call
from tests.campaign.small_run import OTHER, QUIET, WHOLE

NEVER = "runs/never"
LONGEST = 2000  # characters of a line
BEGUN = re.compile(r"\S.* (\.\.\.|\(stopped\))")


@dataclass
class Found:
    """Count what commands answered, and keep what was no answer."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def ask(self, what: str, words: list[str]) -> None:
        """Run a command of which `what` is wrong. It must end with one line."""
        code, printed, errors = answer(words)
        lines = errors.splitlines()
        self.counts["refused"] += 1
        if code == 0:
            self._fault(what, words, "succeeded")
        elif code not in (1, 2):
            self._fault(what, words, f"exit code {code}: {errors[-600:]}")
        elif printed or len(errors) > LONGEST or not is_one_line(lines):
            self._fault(what, words, f"said {errors[:600]!r} {printed[:100]!r}")

    def values(self, key: str, what: str, file: str, overrides: list[str]) -> None:
        """Load a recipe in which a key has a wrong value. It must be refused, but where ALLOWED has it."""
        from ssld.errors import SsldError
        from ssld.plans import load_plan

        try:
            load_plan(file, overrides)
        except SsldError as error:
            self.counts["refused"] += 1
            if "\n" in str(error):
                self._fault(f"{key}: {what}", [], f"said {str(error)[:600]!r}")
        except Exception:  # noqa: BLE001 - this is what must not happen
            self._fault(f"{key}: {what}", [], traceback.format_exc())
        else:
            self.counts["allowed"] += 1
            if what not in ALLOWED.get(key.rpartition(".")[2], ()):
                self._fault(f"{key}: {what}", [], "is taken")

    def unchanged(self, what: str, before: str, place: Path) -> None:
        """Compare a folder with the digest that it had."""
        if digest(place) != before:
            self._fault(what, [], "files were changed or made")

    def _fault(self, what: str, words: list[str], said: str) -> None:
        self.faults.append(f"{what}: `ssld {' '.join(words)[:300]}` {said}")


def is_one_line(lines: list[str]) -> bool:
    """Return whether lines are an error of one line, behind bars that were shown before and ended with it."""
    return bool(lines) and lines[-1].startswith("ssld") and all(BEGUN.fullmatch(line) for line in lines[:-1])


def answer(words: list[str]) -> tuple[object, str, str]:
    """Run a command line in this process; return its exit code, standard output and standard error."""
    from ssld.cli import main

    output, errors, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
            if isinstance(end.code, str):
                errors.write(end.code + "\n")
        except BaseException:  # noqa: BLE001 - this is what must not happen
            return "a traceback", output.getvalue(), traceback.format_exc()
    return code, output.getvalue(), errors.getvalue()


def digest(place: Path) -> str:
    """Return a digest of the names, kinds and bytes of all that is in a folder.

    NEVER is left out: a run whose recipe can be read begins with its folder, in which its plan stands, and so does a
    mining.
    """
    found = hashlib.sha256()
    for path in sorted(place.rglob("*")):
        if path.is_relative_to(place / NEVER):
            continue
        found.update(f"{path.relative_to(place)} {path.lstat().st_mode}\n".encode(errors="surrogateescape"))
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


# --- wrong values for every key of a recipe

VALUES = {
    "not a number": ".nan",
    "no end": "-.inf",
    "negative": "-7",
    "a control character": '"a\\e[31mb"',
    "lists of lists": "[[[]]]",
    "a mapping": "{no_such: {key: 1}}",
    "a date": "2001-01-01",
    "very long": "x" * 5000,
    "very many digits": "9" * 6000,
    "a path out of the folder": "../../../x/../../y",
}
# These keys may have such a value when a recipe is loaded: texts that are there for people, paths and names of kinds of
# data sets, which are looked at where their files are, names of taps, which a network has or has not, and options of
# networks of one's own. What becomes of wrong paths is asked below.
_TEXT = ("a date", "a path out of the folder")
ALLOWED = {
    **dict.fromkeys(("against", "dataset", "folder", "student", "teacher", "val", "weights"), _TEXT),
    "name": ("a date",),
    "title": (*_TEXT, "very long"),
    "options": ("a mapping",),
}


def keys(tree: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every leaf of a recipe, and of every block in it."""
    if path:
        yield path
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from keys(value, f"{path}.{name}" if path else str(name))


def ask_keys(place: Path, every: int) -> None:
    """Give every key of the whole recipe, and every option of every loss, each of VALUES.

    One of the values of a key goes through the command line, the others to what loads a recipe for every command.
    """
    from ssld.config import recipe
    from ssld.plans import load_plan

    found, before, turn = Found(), digest(place), itertools.count()

    def give(key: str, what: str, file: str, overrides: list[str]) -> None:
        if (number := next(turn)) % every:
            return
        found.values(key, what, file, overrides)
        if number % (len(VALUES) + 1) == 0 and what not in ALLOWED.get(key.rpartition(".")[2], ()):
            found.ask(f"{key}: {what}", ["run", file, *overrides, *QUIET, "--out", NEVER])

    for key in keys(recipe.plan_tree(load_plan("whole.yaml", []))):
        for what, value in VALUES.items():
            give(key, what, "whole.yaml", [f"{key}={value}"])
    for name, option in options_of_losses():
        for what, value in VALUES.items():
            term = {"kind": name, option: value if what.startswith("very") else yaml.safe_load(value)}
            changed = {**WHOLE, "stages": {**WHOLE["stages"], "plain": {"epochs": 1, "loss": {"one": term}}}}
            Path("wrong.yaml").write_text(yaml.safe_dump(changed))
            give(f"{name}.{option}", what, "wrong.yaml", [])
    Path("wrong.yaml").unlink()
    found.unchanged("keys", before, place)
    tell(found)


def options_of_losses() -> Iterator[tuple[str, str]]:
    """Yield each loss with each of its options."""
    from dataclasses import fields

    from ssld.losses.registry import built_in

    for name, loss in built_in().items():
        for option in fields(loss):
            yield name, option.name


def tell(found: Found) -> None:
    sys.stdout.write(json.dumps({"figures": found.counts, "faults": found.faults}) + "\n")


def asked(function: Callable[[Path, int], None], every: int = 1) -> Callable[[Path, Path], dict[str, int]]:
    """Return a case that calls one of these functions in a process of its own, in a copy of the place.

    It asks every question, or one in `every`.
    """

    def find(place: Path, own: Path) -> dict[str, int]:
        copy = own / "copy"
        shutil.copytree(place, copy, ignore=shutil.ignore_patterns(OTHER))
        done = call(_call, (function, copy, every), copy, None).wait(900)
        assert done.code == 0, done.errors
        said = json.loads(done.output.splitlines()[-1])
        assert not said["faults"], "\n".join(said["faults"])
        name = function.__name__.removeprefix("ask_")
        return {f"{name} {what}": count for what, count in said["figures"].items()}

    return find


def _call(function: Callable[[Path, int], None], place: Path, every: int) -> None:
    function(place, every)


# --- wrong paths for every command


def make_wrong_paths(place: Path) -> dict[str, str]:
    """Make what no command can read, and return it by what it is."""
    wrong = place / "wrong"
    (wrong / "folder").mkdir(parents=True)
    (wrong / "empty").touch()
    (wrong / "junk").write_bytes(np.random.default_rng(0).bytes(5000))
    (wrong / "zeros").write_bytes(bytes(5000))
    os.mkfifo(wrong / "pipe")
    (wrong / "device").symlink_to("/dev/zero")  # a command that replaced it would replace the link alone
    (wrong / "loop").symlink_to("loop")
    (wrong / "dangling").symlink_to("nowhere")
    return {
        "missing": "wrong/missing",
        "an empty folder": "wrong/folder",
        "an empty file": "wrong/empty",
        "junk": "wrong/junk",
        "zeros": "wrong/zeros",
        "a pipe": "wrong/pipe",
        "a device": "wrong/device",
        "a link to itself": "wrong/loop",
        "a dangling link": "wrong/dangling",
        "below a file": "wrong/junk/below",
        "a name that is too long": "wrong/" + "x" * 300,
        "a path that is too long": "wrong/" + "x/" * 3000,
        "control characters": "wrong/\x1b[31m\nred",
        "nothing": "",
    }


IN = "{in}"  # a path that is read
OUT = "{out}"  # a path that is written to
_RUN = ["run", "whole.yaml", *QUIET, "--out", NEVER]
_NETWORK = ["MobileNetV3_small_x0_35", "--weights"]
_TEACHER = ["--teacher", "card.yaml", "--weights", "weights/teacher.safetensors"]
_MINE = [*_TEACHER, "--against", "data/digits/val.txt", "--k", "1", "--gate", "0", "--device", "cpu"]
TEMPLATES = [
    ["run", IN], ["run", "whole.yaml", *QUIET, "--out", OUT], [*_RUN, "stages.fix.data.train=[{in}]"],
    [*_RUN, "stage.data.val={in}"], [*_RUN, "stages.fix.data.test={in}"], [*_RUN, "teacher.code={in}"],
    [*_RUN, "prepare.pool.sources=[{in}]"], [*_RUN, "prepare.pool.teacher={in}"],
    [*_RUN, "prepare.pool.against={in}"],
    ["sweep", IN], ["label", IN], ["label", "whole.yaml", "--out", OUT], ["show", IN], ["plan", IN],
    ["eval", IN], ["eval", *_NETWORK, IN, "--data", "data/digits/val.txt"], ["eval", "runs/whole", "--data", IN],
    ["compare", IN, "runs/whole"], ["compare", "runs/whole", IN],
    ["export", IN], ["export", "runs/whole", "--out", OUT], ["export", *_NETWORK, IN],
    ["bench", IN], ["bench", "runs/whole", "--quick", "--csv", OUT],
    ["data", "check", IN], ["data", "prepare", "folder", "--source", IN, "--out", NEVER],
    ["data", "prepare", "unlabelled", "--source", IN, "--out", NEVER], ["data", "prepare", "digits", "--out", OUT],
    ["data", "prepare", "glyphs", "--fonts", IN, "--out", NEVER],
    ["data", "prepare", "cifar100", "--source", IN, "--out", NEVER],
    ["mine", IN, *_MINE, "--out", NEVER], ["mine", "data/pool_a.tar", *_MINE, "--out", OUT],
    ["mine", "data/pool_a.tar", *_MINE, "--against", IN, "--out", NEVER],
    ["mine", "data/pool_a.tar", *_MINE, "--teacher", IN, "--out", NEVER],
    ["mine", "data/pool_a.tar", *_MINE, "--weights", IN, "--out", NEVER],
    ["weights", "import", IN, "--arch", "MobileNetV3_small_x0_35", "--out", "new.safetensors"],
    ["report", IN],
]  # fmt: skip
NO_TARGET = ("missing", "an empty folder", "control characters")  # a command may write there
REPLACED = (
    *NO_TARGET,
    "an empty file",
    "junk",
    "zeros",
    "a device",
    "a link to itself",
    "a dangling link",
)  # by a file


def ask_paths(place: Path, every: int) -> None:
    """Give every command each wrong path, wherever it takes one."""
    found, wrong, turn = Found(), make_wrong_paths(place), itertools.count()
    before = digest(place)
    for template in TEMPLATES:
        may = REPLACED if "--csv" in template else NO_TARGET if OUT in template else ()
        for what, path in wrong.items():
            if what in may or next(turn) % every:
                continue
            words = [word.replace(IN, path).replace(OUT, path) for word in template]
            found.ask(f"{what} in {' '.join(template)}", words)
            found.unchanged(f"{what} in {' '.join(template)}", before, place)
            before = digest(place)
    tell(found)


# --- files of weights that somebody made to do harm


class Does:
    """Pickled, it asks whoever unpickles it to call a function."""

    def __init__(self, function: Callable[..., Any], *parts: Any):
        self.parts = function, parts

    def __reduce__(self) -> Any:
        return self.parts


def pickles(ran: Path) -> dict[str, bytes]:
    """Return files as paddle.save writes them, which run code, fill the memory or claim what is not there."""
    text = b"x" * 100_000
    inner = pickle.dumps(Does(os.system, f"touch {ran}"))
    grows = b"c_codecs\nencode\nq\x01X" + len(text).to_bytes(4, "little") + text + b"\x85q\x02"
    return {
        "a command": pickle.dumps({"a": Does(os.system, f"touch {ran}")}, 2),
        "a command in a tuple": pickle.dumps({"a": [({"b": Does(os.system, f"touch {ran}")},)]}, 4),
        "code": pickle.dumps(Does(exec, f"open({str(ran)!r}, 'w')"), 0),
        "an array that is loaded": pickle.dumps({"a": Does(np.load, str(ran))}, 2),
        "a registered extension": b"\x80\x02}X\x01\0\0\0a\x82\xf0s.",
        "attributes of a function": b"}X\x01\0\0\0ac_codecs\nencode\n(N}X\x0c\0\0\0__defaults__(X\x05\0\0\0rot13tstbs.",
        "text that grows": b"(" + grows + b"h\x01h\x02R" * 1000 + b"l.",
        "4 GB of text": b"\x80\x02}X\xff\xff\xff\xffa",
        "depth": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "itself": b"}q\x01X\x01\0\0\0ah\x01s.",
        "a pickle in a pickle": pickle.dumps({"a": Does(pickle.loads, inner)}, 2),
    }


def _safetensors(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def safetensors(ran: Path) -> dict[str, bytes]:
    """Return files whose header claims what is not there."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return {
        "a header of 8 EB": _safetensors({"a": one}, bytes(8), (1 << 63) - 1),
        "a header beyond its file": _safetensors({"a": one}, bytes(8), 1 << 20),
        "a header that is no JSON": _safetensors(b"\xff" * 100),
        "a header of depth": _safetensors(b"[" * 100_000),
        "a shape of 2**80": _safetensors({"a": {**one, "shape": [1 << 40, 1 << 40]}}, bytes(8)),
        "a negative shape": _safetensors({"a": {**one, "shape": [-2]}}, bytes(8)),
        "overlaps": _safetensors({"a": one, "b": one}, bytes(8)),
        "data beyond its file": _safetensors({"a": {**one, "data_offsets": [1 << 40, (1 << 40) + 8]}}, bytes(8)),
        "names of escape sequences": _safetensors({"a\x1b[2J\n": one}, bytes(8)),
        "a type of its own": _safetensors({"a": {**one, "dtype": "__import__('os')"}}, bytes(8)),
        "metadata that are no text": _safetensors({"__metadata__": {"num_classes": [1e999]}, "a": one}, bytes(8)),
        "a huge number of classes": _safetensors({"__metadata__": {"num_classes": "9" * 5000}, "a": one}, bytes(8)),
    }


def _tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, content in entries:
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _entry(name: str, content: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def tars(ran: Path) -> dict[str, bytes]:
    """Return archives of 1.x that lead out of themselves, or whose variables claim what is not there."""
    from tests.unit.weights_files import lodtensor

    whole = lodtensor(np.ones((2, 2), "float32"))
    return {
        "a path out of it": _tar(_entry(f"../../{ran.name}", whole)),
        "an absolute path": _tar(_entry(str(ran), whole)),
        "a symbolic link": _tar(_entry("net/a", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "a hard link": _tar(_entry("net/a", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
        "a device": _tar(_entry("net/a", type=tarfile.CHRTYPE)),
        "a pipe": _tar(_entry("net/a", type=tarfile.FIFOTYPE)),
        "a name twice": _tar(_entry("net/a", whole), _entry("./net//a", whole)),
        "a size beyond its file": _tar(_entry("net/a", whole))[:512] + b"\0" * 100,
        "escape sequences": _tar(_entry("net/a\n\x1b[2J", type=tarfile.SYMTYPE)),
        "a variable of 2**70": _tar(_entry("net/a", whole[:20] + b"\xff" * 40)),
        "a variable that is a pickle": _tar(_entry("net/a", pickle.dumps(Does(os.system, f"touch {ran}")))),
        "very many files": _tar(*(_entry(f"net/{number}") for number in range(20_000))),
    }


def onnx_files(ran: Path) -> dict[str, bytes]:
    """Return ONNX files whose weights lie elsewhere, or that claim what is not there."""
    import onnx

    from tests.unit import foreign_files

    def external(location: str, **more: str) -> bytes:
        model = foreign_files.model()
        for tensor in model.graph.initializer:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            for key, value in {"location": location, **more}.items():
                tensor.external_data.add(key=key, value=value)
        return bytes(model.SerializeToString())

    def huge() -> bytes:
        model = foreign_files.model()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend([1 << 40, 1 << 20])
        return bytes(model.SerializeToString())

    own = onnx.helper.make_node("Run", ["logits"], ["b"], domain="evil")
    whole = bytes(foreign_files.model().SerializeToString())
    return {
        "weights in /etc": external("/etc/passwd"),
        "weights above its folder": external("../../../../etc/passwd"),
        "weights in a device": external("/dev/zero"),
        "weights nowhere": external("nowhere.bin"),
        "weights of a huge offset": external("weights.bin", offset="9" * 18),
        "weights of a name with a zero": external("a\0b"),
        "a shape of 2**60": huge(),
        "cut short": whole[: len(whole) // 2],
        "nothing": b"",
        "lengths of 4 GB": b"\x3a\xff\xff\xff\xff\x0f" + whole,
        "an operator of its own": bytes(foreign_files.model(more=(own,)).SerializeToString()),
    }


FORMATS: dict[str, tuple[str, Callable[[Path], dict[str, bytes]], Callable[[str], list[list[str]]]]] = {}


def _weights_words(file: str) -> list[list[str]]:
    return [
        ["eval", *_NETWORK, file, "--data", "data/digits/val.txt"],
        ["export", *_NETWORK, file, "--out", NEVER],
        ["mine", "data/pool_a.tar", *_MINE, "--weights", file, "--out", NEVER],
        ["weights", "import", file, "--arch", "MobileNetV3_small_x0_35", "--out", "new.safetensors"],
    ]


def _foreign_words(file: str) -> list[list[str]]:
    tree = {**WHOLE, "teacher": {"onnx": f"../{file}", "input": {"size": 8, "resize": 8}}}
    del tree["prepare"], tree["baseline"]
    tree["stages"] = {"distill": {"epochs": 1, "loss": {"ssld": {}}}}
    Path("foreign.yaml").write_text(yaml.safe_dump(tree))
    return [["run", "foreign.yaml", *QUIET, "--out", NEVER]]


FORMATS |= {
    "safetensors": (".safetensors", safetensors, _weights_words),
    "pdparams": (".pdparams", pickles, _weights_words),
    "tar": (".tar", tars, _weights_words),
    "onnx": (".onnx", onnx_files, _foreign_words),
}


def ask_weights(place: Path, every: int) -> None:
    """Give every command that reads weights the malicious files of each format."""
    found, ran, turn = Found(), place / "ran", itertools.count()
    Path("foreign.yaml").touch()
    for name, (ending, files, words_of) in FORMATS.items():
        for what, content in files(ran).items():
            if next(turn) % every:
                continue
            file = Path(f"hostile{ending}")
            file.write_bytes(content)
            words_of(str(file))
            before = digest(place)
            for words in words_of(str(file)):
                found.ask(f"{name}, {what}", words)
            found.unchanged(f"{name}, {what}", before, place)
            if ran.exists():
                found.faults.append(f"{name}, {what}: its code was run")
                with suppress(OSError):
                    ran.unlink()
            file.unlink()
            found.counts[f"{name} files"] += 1
    tell(found)


CASES = {"keys": asked(ask_keys), "paths": asked(ask_paths), "weights": asked(ask_weights)}
