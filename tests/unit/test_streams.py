"""Nobody reads the progress, or the result: work goes on, and a result that is lost is no success."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssld import cli
from ssld.errors import RunError
from ssld.progress import note
from ssld.streams import Forgiving

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")


class Gone:
    """A stream that nobody reads any more."""

    def __init__(self, error):
        self.error = error

    def write(self, text=""):
        raise self.error

    flush = write

    def fileno(self):
        raise OSError(errno.EBADF, "it is no file")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EAGAIN])
def test_a_line_that_cannot_be_written_is_dropped(number):
    stream = Forgiving(Gone(OSError(number, os.strerror(number))))
    assert stream.write("a line\n") == 7
    stream.flush()


def test_what_follows_a_lost_line_goes_nowhere_that_of_libraries_and_processes_too():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as stream:
        forgiving = Forgiving(stream)
        forgiving.write("lost\n")
        assert os.path.samestat(os.fstat(writer), os.stat(os.devnull))
        forgiving.writelines(["nobody\n", "reads this\n"])


@pytest.fixture
def command(monkeypatch):
    """A function that lets `ssld COMMAND ...` call another function than its own."""

    def named(work):
        monkeypatch.setattr(cli, "function", lambda name: lambda **options: work())

    return named


def test_a_command_whose_progress_nobody_reads_ends_with_its_result(command, monkeypatch, capsys):
    def work():
        note("progress")
        print("a library")  # noqa: T201 - as one does
        return [{"a": 1}]

    command(work)
    monkeypatch.setattr(sys, "stderr", Gone(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    cli.main(["list", "losses"])
    assert capsys.readouterr().out == "a\n1\n"


@pytest.mark.parametrize(
    ("words", "code"), [(["eval", "run", "--json"], 141), (["list", "losses"], 141), (["report", "run"], None)]
)
def test_a_result_that_nobody_reads_is_no_success_unless_it_is_in_files(words, code, command, monkeypatch):
    command(lambda: [{"a": 1}])
    for stream in (Gone(BrokenPipeError(errno.EPIPE, "Broken pipe")), None):
        monkeypatch.setattr(sys, "stdout", stream)
        if code is None:
            cli.main(words)
            continue
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == code


def test_a_pipe_that_breaks_in_the_work_is_an_error_as_any_other(command, capsys):
    def work():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe", "/some/socket")

    command(work)
    with pytest.raises(SystemExit, match=r"^ssld list: /some/socket: Broken pipe; mend that and repeat$"):
        cli.main(["list", "losses"])


def test_a_library_that_was_interrupted_and_says_something_else_does_not_hide_the_stop(command, capsys):
    def work():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        except KeyboardInterrupt:
            raise RuntimeError("error in a callback") from None

    command(work)
    mine = ["mine", "pool", "--teacher", "t", "--against", "l", "--k", "1", "--out", "o"]
    commands = (mine, "resumes"), (["data", "prepare", "digits"], "resumes"), (["data", "check", "l"], "begins anew")
    for words, again in commands:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 130
        assert capsys.readouterr().err == f"\nssld {words[0]}: stopped; the same command {again}\n"


CASES = """
set -o pipefail
"$PY" -m ssld list losses | true; echo pipe $?
"$PY" -m ssld list losses >&- ; echo closed $?
"$PY" -m ssld list losses 2>&- | wc -l; echo quiet $?
"$PY" -m ssld list nothing 2>&- >&- ; echo wrong $?
"$PY" -m ssld --help | true; echo help $?
"$PY" -m ssld list losses > /dev/full; echo full $?
"""


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_exit_codes_where_standard_files_are_closed_or_full(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PY": sys.executable}
    done = subprocess.run(["bash", "-c", CASES], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    codes = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert codes == {"pipe": "141", "closed": "141", "quiet": "0", "wrong": "1", "help": "0", "full": "1"}
    assert done.stderr == "ssld list: standard output: No space left on device; the result was not printed\n"


def test_an_error_of_the_system_names_its_file(command, capsys):
    def work():
        with open("/proc/none/here"):
            pass

    command(work)
    with pytest.raises(SystemExit) as ended:
        cli.main(["list", "losses"])
    assert ended.value.code == "ssld list: /proc/none/here: No such file or directory; mend that and repeat"
    with pytest.raises(FileNotFoundError):
        cli.main(["list", "losses", "--debug"])


def test_an_error_in_the_code_is_not_hidden(command):
    def work():
        raise ZeroDivisionError

    command(work)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list", "losses"])
    command(lambda: (_ for _ in ()).throw(RunError("a: b; c")))
    with pytest.raises(SystemExit, match=r"^ssld list: a: b; c$"):
        cli.main(["list", "losses"])
