"""The documents say what the code does: every key, every file, every command, the import table."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import yaml

from ssld import cli
from ssld.arguments import COMMANDS
from ssld.commands.list import LISTS
from ssld.config import cards, recipe
from ssld.config.delivery import Export
from ssld.config.foreign import InputSpec
from ssld.config.keys import plain
from ssld.deploy.engines.registry import ENGINES
from ssld.losses import Term, build_terms
from ssld.losses.overview import names
from ssld.losses.registry import built_in
from ssld.report import ablation, ledger, published_and_measured, zoo
from ssld.spec import ranges
from tests.unit.test_imports import ALLOWED

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
] + sorted((ROOT / "docs").rglob("*.md"))
PARTS = (
    "Plan",
    "Mine",
    "Quantize",
    "Head",
    "Network",
    "Teacher",
    "Combine",
    "Labels",
    "Stage",
    "Data",
    "Augment",
    "Optim",
    "Export",
    "Bench",
    "Smoke",
)
BLOCKS = [*(getattr(recipe, name) for name in PARTS), InputSpec]
FOLDERS = "ssld|recipes|teachers|students|experiments|benchmarks|examples|tests|docs"
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def section(page, title):
    """The text under a heading of level 2."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[1]


def rows(text):
    """Cells of the tables in a text, headings left out; `\\|` is a bar within a cell."""
    lines = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def commands(page):
    """Words of every command in the code blocks of a page, comments cut off."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    lines = [
        line
        for kind, block in blocks
        for line in block.splitlines()
        if not kind and line.startswith(("make ", "ssld ", "bash "))
    ]
    return [shlex.split(line, comments=True) for line in lines]


def default(field):
    """A field's default as YAML would hold it, `required` without one."""
    if field.default is not dataclasses.MISSING:
        return plain(field.default)
    return {} if field.default_factory is not dataclasses.MISSING else "required"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_key_of_a_recipe_is_explained_with_its_range_and_its_default(block):
    table = {cells[0].strip("`"): cells for cells in rows(section("docs/recipes.md", block.__name__))}
    fields = {field.name: field for field in dataclasses.fields(block)}
    assert list(table) == list(fields)
    for name, (_, kind, told, _) in table.items():
        assert kind.replace("\\|", "|") == ranges.told(ranges.kinds(block)[name]), f"{block.__name__}.{name}"
        if name == "name":  # worked out by `recipe.load`
            continue
        said = yaml.safe_load(told.strip("`")) if told.startswith("`") else told
        assert said == default(fields[name]), f"{block.__name__}.{name}"


def test_no_block_of_a_recipe_is_left_out_of_the_test_above():
    classes = [item for item in vars(recipe).values() if dataclasses.is_dataclass(item) and item is not Term]
    defined = [item for item in classes if not issubclass(item, ranges.Rule)]
    assert {*defined, InputSpec} == set(BLOCKS)


def test_every_loss_and_its_options_are_explained():
    table = {cells[0].strip("`"): cells for cells in rows(section("docs/recipes.md", "Losses"))}
    assert set(table) == set(built_in())
    for name, (_, options, reads, _) in table.items():
        loss = build_terms({name: {}})[name].loss
        assert set(re.findall(r"`(\w+)`", options)) == {field.name for field in dataclasses.fields(loss)}
        named = loss.reads.teacher | loss.reads.student - {"logits"} | loss.reads.batch & {"label", "index"}
        assert set(re.findall(r"`([\w.]+)`", reads)) == named, name


def test_the_documented_installation_sees_files_that_are_added_to_the_checkout():
    pages = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    installs = re.findall(r'pip install[^`]*"\.\[[^`]*', "\n".join(lines))
    assert len(installs) > 5
    assert [command for command in installs if "--editable" not in command] == []


def test_every_engine_is_in_the_table_of_engines():
    assert {cells[0].strip("`") for cells in rows(section("docs/deploy.md", "Engines"))} == set(ENGINES.names())


def test_the_import_table_of_the_architecture_is_the_one_that_is_checked():
    lines = re.findall(r"^(\w+) ->(.*)$", section("docs/architecture.md", "Who may import whom"), flags=re.MULTILINE)
    assert {unit: {name for name in names.replace(",", " ").split()} for unit, names in lines} == ALLOWED


@each_page
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{FOLDERS})/[^`\s:]*)", text)
    missing = [name for name in named if not re.search(r"[<>]|NAME", name) and not any(ROOT.glob(name.rstrip("/")))]
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("http")]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert not missing


@each_page
def test_every_command_in_a_code_block_is_one(page):
    for words in commands(page):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS, words
        elif words[0] == "bash":
            assert (ROOT / words[1]).is_file(), words
        else:
            check_ssld(cli._parse(words[1:]))  # ends the test by SystemExit for an unknown command or option


def check_ssld(told):
    if told.command in ("run", "show", "plan"):
        named, changes = told.name if told.command == "show" else told.recipe, told.overrides
        if named in names():  # of a method, behind which a recipe may stand
            named, *changes = changes or ["RECIPE"]
        if not re.search("mine|RECIPE", named):
            recipe.load(ROOT / named, changes)
    if told.command == "list":
        assert told.what in LISTS
    if told.command == "bench":
        assert set(told.engine) <= set(ENGINES.names())


@each_page
def test_every_target_command_and_recipe_in_the_text_of_a_page_exists(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([\w-]+)", text)) <= TARGETS
    assert set(re.findall(r"`ssld ([a-z]+)", text)) <= COMMANDS.keys()
    recipes = set(re.findall(r"recipes/[\w/.-]+?\.yaml", text))
    assert not [name for name in recipes if not (ROOT / name).is_file()]


def test_the_recipe_in_the_readme_holds_and_names_no_data_of_its_base(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (mine,) = re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(mine)
    plan = recipe.load(tmp_path / "mine.yaml", ["stages.distill.epochs=20"])
    named = [path for stage in plan.stages.values() for path in (*stage.data.train, stage.data.val)]
    assert set(named) == {"mine/train.txt", "mine/val.txt", "pool/unlabelled.txt"}
    assert {stage.data.crop for stage in plan.stages.values()} == {60, 64, 96}
    assert plan.dataset is None


@pytest.mark.parametrize("name", sorted(page.stem for page in (ROOT / "experiments").glob("*.json")))
def test_measured_tables_are_those_of_the_recorded_results(name, tmp_path):
    recorded = sorted((ROOT / "experiments/results" / name).glob("*.json"))
    page = ROOT / "experiments" / f"{name}.md"
    (command,) = re.findall(r"^- command: `(.*)`$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    again = ledger.write_seed_report(recorded, tmp_path / page.name, command=command)
    assert page.read_text(encoding="utf-8") == again.read_text(encoding="utf-8")
    current = recipe.plan_tree(recipe.load(recipe_file(name)))
    changed = {
        f.name: f.metadata["was"] for f in dataclasses.fields(Export) if "was" in f.metadata
    }  # defaults, since then
    current["export"] |= {key: was for key, was in changed.items() if current["export"][key] is None}
    assert holds(current, ledger.load(recorded[0])["plan"] | {"seed": 0}), "the recipe was changed since"
    if recipe_file(name).parent.name == "ablation":
        return  # docs/what_moves_ssld.md compares its stages
    pages = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    (shown,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", pages, flags=re.DOTALL)
    summary = ledger.summarise(recorded)
    for part in (ledger.table(summary), ledger.verdict(summary), ledger.speedups(summary), command):
        assert part in shown


RUNS = [file for file in sorted((ROOT / "experiments/results").glob("*/*.json")) if "recipe" in ledger.load(file)]


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.stem)
def test_a_recorded_result_has_the_digest_that_its_recipe_has_today(file):
    """Who repeats its command gets a run folder of that name, and takes over its finished stages."""
    plan = recipe.load(recipe_file(file.parent.name), [f"seed={ledger.load(file)['seed']}"])
    assert plan.digest.startswith(file.stem)


def test_the_readme_shows_no_table_that_was_not_recorded():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, shown in re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", readme, flags=re.DOTALL):
        assert (shown == "not measured yet") != (ROOT / "experiments" / f"{name}.md").is_file()


def recipe_file(name):
    """Of a recipe in whichever folder of the shelf."""
    (found,) = (ROOT / "recipes").rglob(f"{name}.yaml")
    return found


def holds(tree, part):
    """Whether the tree has every key of the part with its value: keys that came later are let pass."""
    if isinstance(part, dict):
        return isinstance(tree, dict) and all(key in tree and holds(tree[key], value) for key, value in part.items())
    return tree == part


FROM_CARDS = zoo.pages(ROOT / "docs")


@pytest.mark.parametrize("name", FROM_CARDS)
def test_what_is_generated_from_the_cards_is_up_to_date(name):
    told = "run `make docs`, which writes it anew from students/*.yaml"
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == FROM_CARDS[name], f"docs/{name}: {told}"


def test_the_page_of_published_and_measured_is_up_to_date():
    assert published_and_measured.check(ROOT / "experiments"), "run `ssld report ledger`"


def test_the_page_of_what_moves_a_student_is_up_to_date():
    assert ablation.check(ROOT / "experiments"), "run `ssld report ablation`"


def test_every_series_has_its_page():
    assert {card.series for card in cards.all_students().values()} == set(zoo.series_pages(ROOT / "docs"))
