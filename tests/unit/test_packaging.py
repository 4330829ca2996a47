"""What pip would install: a wheel and a source archive, built offline from a copy of the checkout."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARRIED = ["ssld", "recipes", "teachers", "students"]
FILES = [
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
]
SHELVES = ["recipes", "teachers", "students"]


def run(*command, cwd):
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy, so that a build leaves nothing in the checkout; each shelf holds at least one file."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in CARRIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    for name in (*SHELVES, "recipes/_base"):
        (copy / name / "probe.yaml").write_text("probe: true\n")
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    run(
        "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", out, ".", cwd=checkout
    )
    (file,) = out.glob("ssld-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel, unpacked far from the checkout."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def carried(folder, name):
    return {
        path.relative_to(folder).as_posix() for path in (folder / name).rglob("*") if path.suffix in (".py", ".yaml")
    }


def test_the_wheel_carries_every_module_recipe_and_card(wheel, checkout):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert carried(checkout, "ssld") <= names
    for shelf in SHELVES:
        assert {f"ssld/shelf/{path}" for path in carried(checkout, shelf)} <= names
    assert "ssld/shelf/recipes/_base/probe.yaml" in names
    assert {"ssld/py.typed", "ssld/data/resample.c"} <= names
    assert any(name.endswith("/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"ssld", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}


def test_the_wheel_states_version_python_licence_extras_and_command(installed):
    (info,) = installed.glob("*.dist-info")
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    version = run("-c", "import ssld; print(ssld.__version__)", cwd=installed).strip()
    assert f"Version: {version}\n" in metadata
    assert re.search("^License(-Expression)?: Apache-2.0$", metadata, flags=re.MULTILINE)
    required = next(line for line in metadata.splitlines() if line.startswith("Requires-Python: "))
    assert set(required.removeprefix("Requires-Python: ").split(",")) == {">=3.10", "<3.13"}
    extras = {
        line.removeprefix("Provides-Extra: ") for line in metadata.splitlines() if line.startswith("Provides-Extra")
    }
    assert extras == {"cpu", "gpu", "int8", "engines", "mine", "tensorboard", "dev"}
    needs = re.findall(r"^Requires-Dist: ([\w.-]+).*extra == .tensorboard.", metadata, flags=re.MULTILINE)
    assert needs == ["tensorboardX", "tensorboard"]  # what writes the files, and the command of docs/tracking.md
    assert "ssld = ssld.cli:main" in (info / "entry_points.txt").read_text()


@pytest.mark.parametrize("shelf", SHELVES)
def test_an_installed_package_finds_its_shelves_outside_the_checkout(installed, shelf, tmp_path):
    code = f"import sys; sys.path[:0] = [{str(installed)!r}]; from ssld.paths import shelf; print(shelf({shelf!r}))"
    found = Path(run("-c", code, cwd=tmp_path).strip())
    assert found == installed / "ssld" / "shelf" / shelf
    assert (found / "probe.yaml").is_file()


@pytest.mark.parametrize("shelf", SHELVES)
def test_a_checkout_finds_its_own_shelves(shelf):
    from ssld.paths import shelf as find

    assert find(shelf) == ROOT / shelf


def test_an_unknown_shelf_is_refused_with_a_hint():
    from ssld.errors import RecipeError
    from ssld.paths import shelf

    with pytest.raises(RecipeError, match=r"^no shelf named 'recipe'; did you mean 'recipes'\?$"):
        shelf("recipe")


def test_the_source_archive_carries_what_a_build_needs(checkout, tmp_path):
    run("setup.py", "--quiet", "sdist", "--dist-dir", tmp_path, cwd=checkout)
    (file,) = tmp_path.glob("ssld-*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in CARRIED:
        assert carried(checkout, folder) <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "ssld/py.typed"} <= names


def test_data_and_weights_lie_in_the_current_folder_or_where_the_environment_says(monkeypatch):
    from ssld.paths import data_root, weights_root

    for name, find, default in (("SSLD_DATA", data_root, "data"), ("SSLD_WEIGHTS", weights_root, "weights")):
        monkeypatch.delenv(name, raising=False)
        assert find() == Path(default)
        monkeypatch.setenv(name, "/elsewhere")
        assert find() == Path("/elsewhere")


def test_the_tests_of_a_file_run_in_one_process(request):
    """What the tests of a file share is then made once. Some versions of pytest and pytest-xdist do not go together."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("the tests are not shared among processes")
    assert request.node.nodeid.endswith(f"@{Path(__file__).stem}")
