"""This module makes pieces of HTML. Text that comes in is escaped here; `body` is HTML already."""

from collections.abc import Callable
from typing import Any

from ssld.spec.printable import in_markdown, in_markup

Columns = dict[str, tuple[str, str | Callable[[Any], str]]]  # {title: (key, format)}


def section(title: str, text: str, body: str) -> str:
    """Return a section with its title, a sentence and its content."""
    under = f"<p>{in_markup(text)}</p>\n" if text else ""
    return f"<section>\n<h2>{in_markup(title)}</h2>\n{under}{body}\n</section>\n"


def figure(title: str, caption: str, body: str, dot: str = "") -> str:
    """Return a framed figure; `dot` is the CSS variable of the colour that marks its title."""
    mark = f'<span class="dot" style="background:var(--{dot})"></span>' if dot else ""
    head = f"<h3>{mark}{in_markup(title)}</h3><figcaption>{in_markup(caption)}</figcaption>"
    return f"<figure>{head}{body}</figure>\n"


def tile(name: str, value: str | None, text: str, main: bool = False) -> str:
    """Return a headline number between its name and a text that says what it is."""
    content = in_markup(value if value is not None else "-")
    kind = "tile main" if main else "tile"
    return f'<div class="{kind}"><span>{name}</span><b>{content}</b><span>{in_markup(text)}</span></div>'


def card(body: str) -> str:
    """Return a framed box."""
    return f'<div class="card scroll">{body}</div>'


def table(columns: Columns, rows: list[dict[str, Any]]) -> str:
    """Return a table with a row for each mapping; a value that a row lacks is shown as `-`."""
    head = "".join(f"<th>{in_markup(name)}</th>" for name in columns)
    lines = [
        "".join(f"<td>{in_markup(number(row.get(key), form))}</td>" for key, form in columns.values()) for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def markdown(columns: Columns, rows: list[dict[str, Any]]) -> str:
    """Return the same table in Markdown, with numbers to the right."""
    right = [all(not isinstance(row.get(key), str) for row in rows) for key, _ in columns.values()]
    lines = [[*columns], ["---:" if side else "---" for side in right]]
    lines += [[in_markdown(number(row.get(key), form)) for key, form in columns.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: Any, form: str | Callable[[Any], str]) -> str:
    """Write a value by a format such as `.2f` or a function; None is `-`."""
    if value is None:
        return "-"
    return format(value, form) if isinstance(form, str) else form(value)


def duration(seconds: float) -> str:
    """Write seconds as `48 s`, `5 min 03 s` or `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
