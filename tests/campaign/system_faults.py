"""Let the system fail under a run: disks, files, memory, processes, the clock, W&B.

Each run ends in one line or goes on, and the same command ends it like the undisturbed run.
"""

import errno
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssld.processes import children
from tests.campaign.commands import Done, Limits, call, ssld, start
from tests.campaign.kills import WORDS, assert_like_the_whole_run, finish, moments
from tests.campaign.small_run import OTHER, curve_of, fresh_copy, weights_of

ERRORS = ("ENOSPC", "EIO", "EROFS", "EMFILE", "EDQUOT")
MB = 1 << 20
DISK = "disk"  # folder of a case in which a file system is mounted


def assert_one_line(done: Done) -> None:
    """Check that a command that failed ends with one line, and that no traceback was printed."""
    assert done.code == 1, (done.code, done.errors[-2000:])
    assert "Traceback" not in done.errors, done.errors[-3000:]
    lines = done.errors.rstrip("\n").splitlines()
    assert lines[-1].startswith("ssld run: "), lines[-5:]


# --- a disk that fails


def failing_disk(place: Path, own: Path, first: int = 0, step: int = 1) -> Counter[str]:
    """Let the system refuse each kind of file of a run, at each moment, with one of ERRORS; the next command resumes.

    With `first` and `step` it is a share of the moments. A file that is not needed may be left out: then the run goes
    on, and says so.
    """
    generator, met, fresh = random.Random("disk"), Counter[str](), lambda: fresh_copy(place, own / "copy")
    copy = fresh()
    for name, pattern in moments(WORDS, fresh())[first::step]:
        error = generator.choice(ERRORS)
        for _ in range(2):
            done = ssld(*WORDS, place=copy, SSLD_FAULT=f"{error} {name} {pattern} 1")
            reason = os.strerror(getattr(errno, error))
            if done.code:
                assert_one_line(done)
            said = done.errors.splitlines()[-1] if done.code else done.errors + done.output
            told = reason in said or "disk is full" in said
            assert told or not done.code, (pattern, said)
            if told:
                met[f"{error} at a moment"] += 1
                break
            assert_like_the_whole_run(copy, place)
            copy = fresh()
        else:
            raise AssertionError(f"{error} {name} {pattern}: not met again")
        if not done.code:  # what is finished without a file is another run
            copy = fresh()
    finish(copy)
    assert_like_the_whole_run(copy, place)
    return met


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of so many bytes. OSError where the system does not let us."""
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False).returncode:
        raise PermissionError(errno.EPERM, "file systems cannot be mounted here", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remove(folder: Path) -> None:
    """Remove the folder of a case that was killed, and a disk that is still mounted in it."""
    if (folder / DISK).is_mount():
        subprocess.run(["umount", "-l", folder / DISK], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def remounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def full_disk(place: Path, own: Path) -> Counter[str]:
    """Let a run meet the end of a real disk again and again; each time there is some more room."""
    met, disk = Counter[str](), own / DISK
    needed = sum(file.stat().st_size for file in place.rglob("*") if file.is_file() and OTHER not in file.parts)
    try:
        with small_disk(disk, 4 * needed):
            copy = fresh_copy(place, disk / "copy")
            used = shutil.disk_usage(disk).used
            for more in range(0, needed, needed // 12):
                remounted(disk, f"size={used + more + 64 * 1024}")
                done = ssld(*WORDS, place=copy)
                if not done.code:
                    break
                assert_one_line(done)
                met["a full disk"] += 1
                used = max(used, shutil.disk_usage(disk).used)
            remounted(disk, f"size={8 * needed}")
            remounted(disk, "ro")
            done = ssld(*WORDS, place=copy)
            met["a disk that is read only"] += 1
            if done.code:
                assert_one_line(done)
            remounted(disk, "rw")
            copy_is_whole(copy, place)
    except PermissionError:
        met["disks that cannot be mounted here"] += 1
    return met


def copy_is_whole(copy: Path, place: Path) -> None:
    """Finish a run; one that lacks an export or a bench, because it was disturbed there, makes them now."""
    for file in ("report.html", "result.json"):
        (copy / "runs/whole" / file).unlink(missing_ok=True)
    finish(copy)
    assert_like_the_whole_run(copy, place)


# --- limits of the system


def limits(place: Path, own: Path) -> Counter[str]:
    """Give runs too few files and too little memory."""
    met, copy = Counter[str](), fresh_copy(place, own / "copy")
    tries: list[tuple[str, Limits]] = [("too few files", {resource.RLIMIT_NOFILE: n}) for n in (12, 16, 20, 24, 32, 48)]
    used = _address_space(copy)
    tries += [("too little memory", {resource.RLIMIT_AS: used + more * MB}) for more in (1, 8, 32, 64, 128, 256, 512)]
    tries += [("too large files", {resource.RLIMIT_FSIZE: n}) for n in (100, 3000, 20_000)]
    for what, limit in tries:
        done = ssld(*WORDS, place=copy, limits=limit)
        if done.code == -signal.SIGABRT and what == "too little memory":
            met["aborts for want of memory"] += 1
        elif done.code:
            assert_one_line(done)
            met[what] += 1
    copy_is_whole(copy, place)
    return met


def _address_space(place: Path) -> int:
    done = call(_tell_address_space, (), place, None).wait()
    return int(done.output)


def _tell_address_space() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    os.write(1, str(pages * resource.getpagesize()).encode())


# --- processes, clock, W&B


def dead_workers(place: Path, own: Path) -> Counter[str]:
    """Kill the processes that a run starts, here the converter of an export to ONNX, soon after they are there."""
    met, copy = Counter[str](), fresh_copy(place, own / "copy")
    words = [*WORDS, "export.formats=[paddle,onnx]"]
    for seconds in (0.0, 0.3, 1.0):
        running = start(words, copy)
        while not running.ended():
            if found := children(running.process.pid or 0):
                time.sleep(seconds)
                for number in found:
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                        met["dead workers"] += 1
            time.sleep(0.005)
        done = running.wait()
        if done.code:
            assert_one_line(done)
        assert "Traceback" not in done.errors, done.errors
        assert "onnx" in done.errors.splitlines()[-1] or (copy / "runs/whole/result.json").is_file(), done.errors
        for file in ("report.html", "result.json"):
            (copy / "runs/whole" / file).unlink(missing_ok=True)
    assert met, "no process was started"
    finish(copy, words)
    assert (copy / "runs/whole/export/model.onnx").is_file()
    assert weights_of(copy / "runs/whole") == weights_of(place / "runs/whole")
    return met


def clock_back(place: Path, own: Path) -> Counter[str]:
    """Set the clock back by days while a run goes on, and once more before it is resumed."""
    copy = fresh_copy(place, own / "copy")
    done = call(_with_clock_back, (WORDS, 2.0, True), copy, None).wait()
    assert done.code != 0, "the run should have been stopped in its middle"
    done = call(_with_clock_back, (WORDS, 0.5, False), copy, None).wait()
    assert done.code == 0, done.errors
    assert "Traceback" not in done.errors
    assert_like_the_whole_run(copy, place)
    return Counter({"clock back": 2})


def _with_clock_back(words: list[str], after: float, stop: bool) -> None:
    """Run a command for which the clock goes back by ten days after so many seconds, and another hour at each look."""
    from ssld.cli import main

    real, begun, looks = time.time, time.monotonic(), iter(range(1 << 30))

    def clock() -> float:
        return real() if time.monotonic() < begun + after else real() - 864_000 - 3600 * next(looks)

    time.time = clock
    if stop:
        signal.setitimer(signal.ITIMER_REAL, after + 1)
        signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    main(words)


def hanging_wandb(place: Path, own: Path) -> Counter[str]:
    """Send a run to a server of W&B that takes every connection and never answers."""
    copy = fresh_copy(place, own / "copy")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        words = [word if word != "disabled" else "online" for word in WORDS]
        done = ssld(*words, place=copy, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40, HOME=str(own), seconds=600)
    assert "Traceback" not in done.errors, done.errors
    assert done.code == 0, done.errors
    assert len(re.findall("^warning: W&B", done.errors, re.MULTILINE)) == 1, done.errors
    assert weights_of(copy / "runs/whole") == weights_of(place / "runs/whole")
    assert curve_of(copy / "runs/whole") == curve_of(place / "runs/whole")
    return Counter({"W&B hanging": 1})


CASES: dict[str, Callable[[Path, Path], Counter[str]]] = {
    "failing disk": failing_disk,
    "full disk": full_disk,
    "limits": limits,
    "dead workers": dead_workers,
    "clock back": clock_back,
    "W&B hanging": hanging_wandb,
}
