"""Contenders of a benchmark that are processes of their own and take turns: one works while the others wait.

The script starts itself once for every contender (once a rank, behind paddle.distributed.launch). There `compete` gets
ready, says a word and makes a round whenever it is asked to. CPU time is that of all its threads and children.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from ssld.processes import children

DOOR = "door"  # a socket in the contenders' common folder


@dataclass
class Contender:
    """A process, or one a rank, that waits for its turn. `told`: what each said when it was ready."""

    name: str
    process: subprocess.Popen[bytes]
    ranks: list[Connection]
    told: list[Any]

    def turn(self) -> tuple[float, float]:
        """Wall and CPU seconds of one round."""
        cpu, start = cpu_seconds(self.process.pid), time.perf_counter()
        for rank in self.ranks:
            rank.send(True)
        for rank in self.ranks:
            rank.recv()
        return time.perf_counter() - start, cpu_seconds(self.process.pid) - cpu

    def dismiss(self) -> None:
        for rank in self.ranks:
            rank.send(False)
        self.process.wait()


def open_door(root: Path) -> Listener:
    return Listener(str(root / DOOR), "AF_UNIX", backlog=16)


def invite(name: str, script: str, words: Sequence[str], root: Path, door: Listener, ranks: int = 1) -> Contender:
    """Start `script WORDS --contender NAME ROOT` and wait until every rank is ready; exits where it ends before."""
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(ranks), "--backend", "gloo"]
    launcher += ["--log_dir", str(root / "ranks")]
    command = [sys.executable, *(launcher if ranks > 1 else []), str(Path(script).resolve()), *words]
    print(f"{name}: getting ready", flush=True)
    log = root / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, "--contender", name, str(root)], stdout=stream, stderr=stream)
    joined: list[Connection] = []
    door._listener._socket.settimeout(1.0)  # type: ignore[attr-defined]
    while len(joined) < ranks:
        try:
            joined.append(door.accept())
        except TimeoutError:
            if process.poll() is not None:
                sys.exit(f"{name}: ended before its turn\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
    return Contender(name, process, joined, [rank.recv() for rank in joined])


def compete(root: Path, prepare: Callable[[], tuple[Any, Callable[[], object]]]) -> None:
    """A contender's side: `prepare` gives the word to say and the function that is a round."""
    with Client(str(root / DOOR), "AF_UNIX") as caller:
        word, work = prepare()
        caller.send(word)
        while caller.recv():
            work()
            caller.send(True)


def take_turns(team: Sequence[Contender], images: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median images a second and CPU milliseconds an image of every contender, over all rounds but the first."""
    taken: dict[str, list[tuple[float, float]]] = {one.name: [] for one in team}
    for _ in range(rounds + 1):
        for one in team:
            taken[one.name].append(one.turn())
    for one in team:
        one.dismiss()
    return {
        name: {
            "images_per_second": images / statistics.median(wall for wall, _ in turns[1:]),
            "cpu_ms": 1000 * statistics.median(cpu for _, cpu in turns[1:]) / images,
        }
        for name, turns in taken.items()
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its children that live and of those that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_seconds, children(pid)))
