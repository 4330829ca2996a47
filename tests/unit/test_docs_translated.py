"""Pages in Chinese say what the English ones say: code, tables, numbers, links and their parts are the same."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page.relative_to(ROOT) for page in sorted(ROOT.glob("*.zh-CN.md")) + sorted((ROOT / "docs").glob("*.zh-CN.md"))
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
each_pair = pytest.mark.parametrize("page", PAGES, ids=str)


def both(page):
    """The text of a page in English and in Chinese."""
    other = ROOT / page
    return other.with_name(other.name.replace(".zh-CN", "")).read_text(encoding="utf-8"), other.read_text(
        encoding="utf-8"
    )


def code(text):
    """Kind and lines of every code block, comments cut off."""
    return [
        (kind, [re.sub(r"\s*# .*", "", line) for line in block.splitlines()]) for kind, block in BLOCK.findall(text)
    ]


def cells(text):
    """Of every row of a table the number of cells, and those that hold code or numbers and no words."""
    lines = [line.strip("| ").split("|") for line in BLOCK.sub("", text).splitlines() if line.startswith("|")]
    plain = [[cell.strip().strip("*") for cell in line] for line in lines]
    return [(len(line), [cell for cell in line if re.fullmatch(r"[\d\s.,%+±-]+|`[^`]+`", cell)]) for line in plain]


def numbers(text):
    """How often each number stands outside of code blocks; a million and 万 written out."""
    said = re.sub(r"(\d+) million", r"\g<1>000000", re.sub(r"(\d+) 万", r"\g<1>0000", BLOCK.sub("", text)))
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", said))


def links(text):
    """Targets of the links: a page that is there in both languages counts as one, headings are left out."""
    return Counter(link.replace(".zh-CN", "") for link in re.findall(r"\]\(([^)#]+)", text))


def test_readme_and_quickstart_are_there_in_chinese():
    assert {"README.zh-CN.md", "docs/quickstart.zh-CN.md"} <= {page.as_posix() for page in PAGES}


@each_pair
def test_a_translated_page_has_the_same_commands_and_code_in_the_same_order(page):
    english, chinese = both(page)
    assert code(chinese) == code(english)


@each_pair
def test_tables_of_a_translated_page_hold_the_same_numbers(page):
    english, chinese = both(page)
    assert cells(chinese) == cells(english)


@each_pair
def test_a_translated_page_names_the_same_numbers_and_code(page):
    english, chinese = both(page)
    assert numbers(chinese) == numbers(english)
    quoted = [Counter(re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))) for text in (chinese, english)]
    assert set(quoted[0]) == set(quoted[1])


@each_pair
def test_a_translated_page_has_the_same_links_and_headings(page):
    english, chinese = both(page)
    assert links(chinese) == links(english)
    levels = [re.findall(r"^(#+) ", BLOCK.sub("", text), flags=re.MULTILINE) for text in (chinese, english)]
    assert levels[0] == levels[1]


@each_pair
def test_both_languages_link_to_each_other(page):
    english, chinese = both(page)
    assert f"]({page.name})" in english
    assert f"]({page.name.replace('.zh-CN', '')})" in chinese


@each_pair
def test_a_page_in_chinese_leads_to_pages_in_chinese_where_there_are_any(page):
    to = set(re.findall(r"\]\(([^)#]+)", both(page)[1])) - {page.name.replace(".zh-CN", "")}
    missed = [link for link in to if (ROOT / page.parent / link).with_suffix(".zh-CN.md").is_file()]
    assert not missed
