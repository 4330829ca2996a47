"""Signals ask for a stop, once; a process ends with the one that started it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ssld.stopping import PARENT, SIGNALS, Stop, ancestors, catch_again, caught

HERE = os.getpid()
ROOT = Path(__file__).parents[2]


def python(code, **options):
    """A process without Paddle, which takes a tenth of a second."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], env=env, text=True, **pipes, **options)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops_at_once_the_others_change_nothing_and_the_handlers_are_put_back(number):
    before = {each: signal.getsignal(each) for each in SIGNALS}
    with caught() as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(HERE, number)
        for other in set(SIGNALS) - {signal.SIGINT}:
            os.kill(HERE, other)
        assert stop.asked
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # the next one ends this process
    assert {each: signal.getsignal(each) for each in SIGNALS} == before


def test_a_block_that_is_to_be_ended_is_ended_and_the_stop_comes_behind_it(capsys):
    done = []

    def block(stop):
        with caught() as inner, inner.delayed():
            assert inner is stop
            os.kill(HERE, signal.SIGHUP)
            os.kill(HERE, signal.SIGHUP)
            done.append(stop.asked)

    with caught() as stop, pytest.raises(KeyboardInterrupt):
        block(stop)
    assert done == [True]
    assert capsys.readouterr().err == "\nstopping: this step is ended and saved; Ctrl-C ends at once\n"


def test_what_is_handed_on_is_the_first_signal_and_every_ctrl_c():
    got = []

    def block(stop):
        with stop.handed_on(got.append):
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
                os.kill(HERE, number)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    with caught() as stop, pytest.raises(KeyboardInterrupt):
        block(stop)
    assert got == [signal.SIGUSR1, signal.SIGINT]


def test_a_signal_that_a_library_takes_is_taken_back():
    with caught() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        catch_again()  # Python's table is what it looks at, and C code does not write there
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.signal(signal.SIGTERM, stop)
        catch_again()
        with pytest.raises(KeyboardInterrupt):
            os.kill(HERE, signal.SIGTERM)


def test_in_another_thread_nothing_is_caught_and_nothing_fails():
    found = []

    def work():
        with caught() as stop, stop.delayed():
            found.append((stop.asked, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGTERM))]


UNDER_NOHUP = """
import hashlib, os, signal
from ssld.stopping import caught
with caught() as stop:
    os.kill(os.getpid(), signal.SIGHUP)  # it was ignored at the start
    assert not stop.asked
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with stop.delayed():
        os.kill(os.getpid(), signal.SIGINT)
        print("asked", stop.asked, flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # minutes in which no Python runs
"""


def test_a_signal_that_was_ignored_stays_so_and_ctrl_c_twice_ends_a_process_that_computes():
    process = python(UNDER_NOHUP, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout.readline() == "asked True\n", process.communicate()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    process.communicate()


LAUNCHER = """
import os, subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "SSLD_PARENT": str(os.getppid())},
                        stdin=subprocess.PIPE)
print(rank.pid, flush=True)
sys.stdin.readline()
"""
RANK = """
import sys
sys.stdin.readline() if {waits} else None
from ssld.stopping import end_with_parent
end_with_parent()
print("alive", flush=True)
sys.stdin.read()
import time; time.sleep(600)
"""


def launched(waits):
    """A launcher, and the rank that it has started."""
    code = f"import sys; sys.argv[1:] = [{RANK.format(waits=waits)!r}]\n" + LAUNCHER
    launcher = python(code, start_new_session=True)
    return launcher, int(launcher.stdout.readline())


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "Z"
    except OSError:
        return False


def ends(pid):
    limit = time.monotonic() + 20
    while lives(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    return not lives(pid)


def test_a_rank_ends_with_its_launcher_whether_that_is_killed_before_or_after_the_rank_asks_for_it():
    launcher, rank = launched(waits=False)
    assert launcher.stdout.readline() == "alive\n"
    assert ancestors(rank)[:2] == [launcher.pid, HERE]
    launcher.kill()
    assert ends(rank)
    launcher.communicate()
    launcher, rank = launched(waits=True)
    launcher.kill()  # the rank reads the end of its input, and only then asks
    assert ends(rank)
    assert launcher.communicate()[0] == ""  # it did not go on


def test_a_process_whose_caller_is_gone_ends_before_its_imports():
    gone = python("")
    gone.communicate()
    code = "from ssld.stopping import end_with_parent\nend_with_parent()\nprint('alive')"
    process = python(code, env={PARENT: str(gone.pid)})
    assert process.communicate()[0] == ""
    assert process.returncode == -signal.SIGTERM
    process = python(code, env={PARENT: str(HERE)})
    assert process.communicate()[0] == "alive\n"


AFTER_PADDLE = """
import os, signal, sys, time
from ssld import cli
def work(**options):
    import ssld.runtime  # it imports Paddle, which takes SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
cli.function = lambda name: work
cli.main(["bench", "ResNet18"])
"""


def test_a_command_that_has_imported_paddle_is_stopped_by_sigterm_and_says_so():
    process = python(AFTER_PADDLE)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 130, errors
    assert errors == "\nssld bench: stopped; the same command begins anew\n"


def test_a_stop_says_nothing_before_it_is_asked_for():
    assert not Stop().asked
