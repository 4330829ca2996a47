"""This module shows a person what is going on: a bar a stage on a terminal, now and then a line in a log file."""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from ssld.spec.printable import printable

SECONDS = 10.0  # at least so many seconds pass between two lines where there is no terminal
WINDOW = 20.0  # the shown rate is that of so many last seconds
SHOWN = {"loss": "loss {:.3f}", "top1": "top-1 {:.1f} %", "val_top1": "val {:.1f} %"}


def progress(total: int, label: str, start: int = 0, *, quiet: bool = False, unit: str = "img") -> "Bar":
    """Return a context that shows `total` pieces of work, of which `start` were done before this process began.

    It is a bar on standard error where that is a terminal, otherwise plain lines, at most one in SECONDS; it shows
    nothing when `quiet`.
    """
    if quiet:
        return Bar(total, label, start, unit)
    return TerminalBar(total, label, start, unit) if sys.stderr.isatty() else LineBar(total, label, start, unit)


class Bar:
    """It counts and times the work. This class shows nothing: it serves the ranks above 0."""

    def __init__(self, total: int, label: str, start: int, unit: str):
        self.total, self.label, self.start, self.unit = total, label, start, unit
        self.done, self.began, self.values = start, time.monotonic(), dict[str, float | None]()
        self._marks, self._rate = deque([(self.began, start)]), 0.0

    def __enter__(self) -> "Bar":
        self.began = time.monotonic()
        self._marks = deque([(self.began, self.start)])
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.done = self.total = max(self.done, self.total)
        self.close(finished=kind is None)

    def update(self, done: int, **values: float | None) -> None:
        """Record that `done` pieces of work are done in all.

        `loss`, `top1` and `val_top1` are shown, other values are not.
        """
        now = time.monotonic()
        if done == self.done:  # an evaluation took place, and its time is not that of the work
            self._rate = self.rate()
            self._marks.clear()
        self._marks.append((now, done))
        while now - self._marks[0][0] > WINDOW and len(self._marks) > 2:
            self._marks.popleft()
        self.done = done
        self.values.update(values)
        self.show()

    def count(self, done: int, total: int) -> None:
        """Do what `update` does for work whose size is learnt on the way.

        It fits wherever a `callback(done, total)` is needed.
        """
        self.total = total
        self.update(done)

    def rate(self, done: int | None = None) -> float:
        """Return the pieces of work a second, over the last WINDOW seconds; 0.0 before any were done.

        With `done` it is the rate up to this moment, before `update` is called; without, that of the last `update`.
        """
        marks = [*self._marks] if done is None else [*self._marks, (time.monotonic(), done)]
        seconds, work = marks[-1][0] - marks[0][0], marks[-1][1] - marks[0][1]
        return work / seconds if seconds > 0 else self._rate

    def seconds_left(self) -> float | None:
        """Return the seconds left by the mean speed of this process, evaluations included.

        Returns None while nothing is known.
        """
        done_in_process = self.done - self.start
        return (
            (self.total - self.done) * (time.monotonic() - self.began) / done_in_process
            if done_in_process > 0
            else None
        )

    def text(self, finished: bool = False) -> str:
        """Return a line such as `62 %  412 img/s  1:12 left  loss 0.412  top-1 91.2 %`."""
        parts = [f"{100 * self.done // self.total:3d} %"] if self.total > 1 else []
        if finished:
            seconds = time.monotonic() - self.began
            done_in_process = self.done - self.start
            parts += [self._speed(done_in_process / seconds)] if done_in_process > 1 and seconds > 0 else []
            parts += [f"in {clock(seconds)}"]
        elif self.total > 1:
            left = self.seconds_left()
            parts += [self._speed(self.rate())] if self.rate() else []
            parts += [f"{clock(left)} left"] if left is not None else []
        parts += [form.format(self.values[name]) for name, form in SHOWN.items() if self.values.get(name) is not None]
        return "  ".join(parts)

    def _speed(self, rate: float) -> str:
        """Return a rate in words, a minute where it is slow: runs take seconds or minutes each."""
        return f"{rate:,.0f} {self.unit}/s" if rate >= 1 else f"{60 * rate:.2g} {self.unit}/min"

    def open(self) -> None:
        """Show that the work begins."""

    def show(self) -> None:
        """Show how far the work is."""

    def close(self, finished: bool) -> None:
        """Show how the work ended."""


class LineBar(Bar):
    """It writes plain lines for log files: at the start, then at most one in SECONDS, and at the end."""

    def open(self) -> None:
        self.shown = self.began
        earlier = f", {self.start:,} of them done before" if self.start else ""
        note(f"{self.label}: {self.total:,} {self.unit}{earlier}" if self.total > 1 else f"{self.label} ...")

    def show(self) -> None:
        if time.monotonic() - self.shown >= SECONDS:
            self.shown = time.monotonic()
            note(f"{self.label:<10} {self.text()}")

    def close(self, finished: bool) -> None:
        note(f"{self.label:<10} {self.text(finished)}" + ("" if finished else "  (stopped)"))


class TerminalBar(Bar):
    """It draws a live bar, which stays on the screen when it is finished."""

    def open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        label, text = (TextColumn(form, markup=False) for form in ("{task.description:<10}", "{task.fields[text]}"))
        self._live = Progress(label, BarColumn(24), text, console=Console(stderr=True), refresh_per_second=4)
        self._task = self._live.add_task(printable(self.label), total=self.total or None, completed=self.start, text="")
        self._live.start()

    def show(self) -> None:
        self._live.update(self._task, total=self.total or None, completed=self.done, text=self.text())

    def close(self, finished: bool) -> None:
        text = self.text(finished) + ("" if finished else "  (stopped)")
        self._live.update(self._task, total=max(self.total, 1), completed=max(self.done, finished), text=text)
        self._live.stop()


def note(text: str) -> None:
    """Write one line on standard error, above a live bar if there is one; what cannot be printed is escaped."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def clock(seconds: float) -> str:
    """Write seconds as `1:12` or `2:03:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def table(rows: Sequence[Mapping[str, object]], title: str) -> None:
    """Print rows of equal keys to standard output: boxed on a terminal, otherwise aligned text.

    None is shown as `-`.
    """
    title = printable(title)
    if not sys.stdout.isatty():
        sys.stdout.write(plain_table(rows, title))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, name in enumerate(rows[0] if rows else ()):
        grid.add_column(name, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        grid.add_row(*map(_cell, row.values()))
    Console(markup=False).print(grid)


def plain_table(rows: Sequence[Mapping[str, object]], title: str) -> str:
    """Return aligned text: the first column to the left, the others to the right."""
    lines = [[*map(_cell, rows[0])]] + [[_cell(value) for value in row.values()] for row in rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides: list[Callable[..., str]] = [str.ljust] + [str.rjust] * (len(widths) - 1)
    text = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)) for line in lines
    ]
    return "\n".join([title, *(line.rstrip() for line in text)]) + "\n"


def _cell(value: object) -> str:
    """Return a value as text that can be printed."""
    return "-" if value is None else printable(value)
