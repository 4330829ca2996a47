"""`ssld` as a user types it: a process of its own, in a folder of its own."""

import os
import subprocess
import sys

import yaml


def command(*words):
    return [sys.executable, "-m", "ssld", *map(str, words)]


def surroundings(**changes):
    """The environment without the user's own folders and the ranks of a launcher, with one thread a process."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SSLD_", "PADDLE_", "WANDB_"))}
    return {**kept, "OMP_NUM_THREADS": "1", **changes}


def ssld(*words, cwd, seconds=280, **changes):
    """The finished process; `changes` are environment variables."""
    options = {"capture_output": True, "text": True, "timeout": seconds, "check": False}
    return subprocess.run(command(*words), cwd=cwd, env=surroundings(**changes), **options)


def succeeds(*words, cwd, **options):
    """Standard output of a command that must succeed."""
    done = ssld(*words, cwd=cwd, **options)
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
