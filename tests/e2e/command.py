"""`ssld` as a user types it, in a folder of its own.

`ssld`, `succeeds` and `fails` run a command line in this process, whose imports are done; `process` and `unread` start
a process, which costs seconds: for signals, closed pipes, and what a process does at its beginning and its end.
"""

import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

import yaml

from ssld import cli


def command(*words):
    return [sys.executable, "-m", "ssld", *map(str, words)]


def surroundings(**changes):
    """The environment without the user's own folders and the ranks of a launcher, with one thread a process."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SSLD_", "PADDLE_", "WANDB_"))}
    return {**kept, "OMP_NUM_THREADS": "1", **changes}


def process(*words, cwd, seconds=280, **changes):
    """The finished process of a command; `changes` are environment variables."""
    options = {"capture_output": True, "text": True, "timeout": seconds, "check": False}
    return subprocess.run(command(*words), cwd=cwd, env=surroundings(**changes), **options)


def ssld(*words, cwd, **changes):
    """What `process` gives, of a command in this process: its exit code, and all that it and its children print."""
    before = os.getcwd()
    with tempfile.TemporaryFile("w+", 1) as output, tempfile.TemporaryFile("w+", 1) as errors:
        with prints_into(output, errors), mock.patch.dict(os.environ, surroundings(**changes), clear=True), warns():
            os.chdir(cwd)
            try:
                code = exit_code([*map(str, words)])
            finally:
                os.chdir(before)
                end_wandb()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), errors.read())


def end_wandb():
    """End W&B's process, as the end of a command's process would: it keeps the folder and the environment that it was
    started with, which are those of one test."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


def exit_code(words):
    """The exit code that Python gives a process, which prints the reason if it is a text, or the traceback."""
    try:
        cli.main(words)
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
    except Exception:  # noqa: BLE001 - whatever it is, a user would see it
        traceback.print_exc()
    else:
        return 0
    return 1


@contextmanager
def prints_into(output, errors):
    """Let Python, libraries in C and child processes print into two files."""
    files = {1: output, 2: errors}
    kept = {number: os.dup(number) for number in files}
    for number, file in files.items():
        os.dup2(file.fileno(), number)
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


@contextmanager
def warns():
    """Show warnings as Python shows them to a user: none is an error, and some are for developers alone."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        yield


def succeeds(*words, cwd, **changes):
    """Standard output of a command that must succeed."""
    done = ssld(*words, cwd=cwd, **changes)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(*words, cwd, code=1, begun=False, **changes):
    """The one line on standard error of a command that must fail; with `begun` its progress may stand before it."""
    done = ssld(*words, cwd=cwd, **changes)
    lines = done.stderr.splitlines()
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert lines[-1].startswith("ssld"), done.stderr
    assert "Traceback" not in done.stderr
    assert begun or len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[-1]


def unread(*words, cwd, read):
    """The exit code of a command of whose standard output and standard error so many bytes are read, as by `head`."""
    reader, writer = os.pipe()
    process = subprocess.Popen(command(*words), cwd=cwd, env=surroundings(), stdout=writer, stderr=writer)
    os.close(writer)
    while read > 0:
        read -= len(os.read(reader, read))
    os.close(reader)
    return process.wait(280)


def write_recipe(folder, tree, name="some.yaml"):
    (folder / name).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return name
