"""Who may import whom, read from the source with ast: the table of docs/architecture.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Everything may import these.
EVERYONE = {"errors", "faults", "files", "interfaces", "registry", "paths", "spec", "yaml_text"}
NOTHING: set[str] = set()
ALLOWED = {
    "__init__": {"api", "losses"},
    "__main__": {"cli", "stopping"},
    "api": {"config", "data", "distill", "losses", "models", "plans", "published", "result", "run", "runtime", "track"},
    "arguments": NOTHING,
    "callable": NOTHING,
    "cli": {"*"},
    "commands": {"api", "config", "data", "deploy", "distill", "evaluation", "losses", "planning", "plans", "processes"}
    | {"progress", "published", "report", "result", "run", "runtime", "seeds", "track", "trials", "weights"},
    "plans": {"config", "deploy", "distill", "losses"},
    "processes": {"config", "stopping"},
    "seeds": {"config", "plans", "processes", "report"},
    "trials": {"processes", "progress", "report"},
    "evaluation": {"config", "data", "distill", "progress", "runtime"},
    "published": {"config", "distill", "weights"},
    "planning": {"config", "data", "distill", "labels", "progress", "runtime"},
    "run": {"callable", "distill", "labels", "losses", "data", "config", "weights", "track", "progress", "report"}
    | {"publish", "result", "runtime"},
    "publish": {"config", "distill", "progress", "report", "runtime", "track"},
    "result": {"distill", "deploy", "data", "config", "models", "progress", "runtime"},
    "distill": {
        "callable",
        "data",
        "deploy",
        "foreign",
        "labels",
        "losses",
        "models",
        "weights",
        "config",
        "track",
        "progress",
        "runtime",
        "stopping",
    }
    | {"mine", "quantize"},
    "mine": {"config", "data", "models", "progress", "report", "runtime", "weights"},
    "labels": {"data", "models", "weights", "config", "progress", "runtime"},
    "foreign": {"config"},
    "quantize": {"models"},
    "deploy": {"data", "models", "quantize", "weights", "config", "progress", "runtime"},
    "report": {"config", "losses", "progress"},
    "weights": {"models", "progress", "unpickle"},
    "models": NOTHING,
    "data": {"random", "unpickle"},
    "losses": {"random", "runtime"},
    "config": {"losses"},
    "track": NOTHING,
    "progress": NOTHING,
    "runtime": {"stopping"},
    "stopping": NOTHING,
    "streams": NOTHING,
    "random": NOTHING,
    "interfaces": NOTHING,
    "errors": NOTHING,
    "faults": NOTHING,
    "unpickle": NOTHING,
    "registry": NOTHING,
    "paths": NOTHING,
    "files": NOTHING,
    "spec": NOTHING,
    "yaml_text": NOTHING,
}
WITHOUT_PADDLE = {
    "__init__",
    "arguments",
    "cli",
    "commands",
    "config",
    "plans",
    "planning",
    "report",
    "progress",
    "errors",
    "registry",
    "paths",
    "spec",
    "stopping",
    "streams",
    "yaml_text",
}
SOURCES = sorted((ROOT / "ssld").rglob("*.py"))


def unit(file: Path) -> str:
    """`ssld/losses/kl.py` and `ssld/losses/__init__.py` -> losses, `ssld/run.py` -> run."""
    return file.relative_to(ROOT / "ssld").parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """Every dotted name that a file imports, inside functions too; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(ROOT).with_suffix("").parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def units_imported(file: Path) -> set[str]:
    """The parts of ssld that a file imports, other than its own; `__version__` and the like are no part."""
    second = {name.split(".")[1] for name in imports(file) if name.startswith("ssld.")}
    return (second & {unit(source) for source in SOURCES}) - {unit(file)}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_the_table_allows(file):
    allowed = ALLOWED[unit(file)]
    extra = units_imported(file) - allowed - EVERYONE
    assert allowed == {"*"} or not extra, f"{file.relative_to(ROOT)} must not import {', '.join(sorted(extra))}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_part_that_must_answer_at_once_does_not_import_paddle(file):
    paddle = {name for name in imports(file) if name.split(".")[0] == "paddle"}
    assert unit(file) not in WITHOUT_PADDLE or not paddle, f"{file.relative_to(ROOT)} imports {sorted(paddle)}"


def test_every_part_is_in_the_table():
    assert {unit(file) for file in SOURCES} <= ALLOWED.keys()


def test_the_table_has_no_circle():
    def below(name, path):
        assert name not in path, f"{' -> '.join([*path, name])}"
        for other in ALLOWED[name] - {"*"}:
            below(other, [*path, name])

    for name in ALLOWED:
        below(name, [])


def test_the_reader_sees_imports_inside_functions_and_relative_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    monkeypatch.setattr(
        f"{__name__}.SOURCES", [tmp_path / "ssld" / name / "x.py" for name in ("data", "models", "run")]
    )
    file = tmp_path / "ssld" / "data" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import os\ndef f():\n    from ssld import models\n    from ..run import g\n    import ssld.data.y\n"
    )
    assert units_imported(file) == {"models", "run"}


HEAVY = ("paddle", "nvidia", "wandb", "matplotlib", "sklearn", "onnx", "onnxruntime", "openvino")
ASKS = """
import sys
from ssld.cli import main
for words in {commands}:
    try:
        main(words.split())
    except SystemExit as end:  # of a help text
        assert not end.code, (words, end.code)
    loaded = [name for name in {heavy} if name in sys.modules]
    assert not loaded, (words, loaded)
"""


def runs_alone(code):
    """Standard output of a process of which nothing else has loaded a module."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import ssld; ssld.list_models(); ssld.Loss; ssld.create_model; ssld.evaluate",
        "import ssld, ssld.config, ssld.paths; from ssld.losses import build_terms; build_terms({'crd': {}, 'at': {}})",
    ],
    ids=["import ssld", "config and losses"],
)
def test_what_must_answer_at_once_loads_nothing_heavy(code):
    loaded = runs_alone(f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])")
    assert loaded.splitlines()[-1] == "[]"


def test_a_list_and_a_recipe_are_printed_without_numpy_and_bench():
    commands = ["list recipes", "list losses", "show resnet50_vd_ssld"]
    assert runs_alone(ASKS.format(commands=commands, heavy=(*HEAVY, "numpy", "ssld.deploy.bench")))


def test_a_command_that_answers_at_once_loads_nothing_heavy():
    """What one command has loaded stays loaded: the first one that loads too much is named."""
    commands = ["--help", "run --help", "sweep --help", "plan resnet50_vd_ssld --rate 500"]
    commands += [
        f"list {name}" for name in ("models", "teachers", "students", "losses", "methods", "recipes", "engines")
    ]
    names = ("quickstart", "recipes/resnet50_vd_ssld.yaml", "ResNet50_vd", "ssld", "reviewkd", "paddle")
    assert runs_alone(ASKS.format(commands=[*commands, *(f"show {name}" for name in names)], heavy=HEAVY))


def test_every_name_that_deploy_offers_is_found_on_first_use():
    names = "[*deploy.__all__, 'no_such_name']"
    code = f"from ssld import deploy; print([name for name in {names} if not hasattr(deploy, name)])"
    assert runs_alone(code).strip() == "['no_such_name']"


COMMAND_MODULES = [f"ssld.commands.{file.stem}" for file in SOURCES if unit(file) == "commands" and file.stem[0] != "_"]


def test_a_run_needs_no_package_that_only_another_extra_brings():
    """As after `make quickstart`, which installs neither OpenCV nor faiss, PaddleSlim nor the tools of `dev`."""
    modules = ", ".join(["ssld.run", "ssld.result", *COMMAND_MODULES])
    code = f"import sys; sys.modules |= dict.fromkeys(['cv2', 'faiss', 'paddleslim', 'pytest']); import {modules}"
    runs_alone(code)
