"""`--shard I/N` runs the I-th of N parts of the tests, the same ones every time.

Side by side (`--dist loadgroup`) a file's tests stay in one process, which makes what they share once. Those of
tests/parity and test_smoke.py share nothing, and go wherever a process is free, but those of the wsl networks (up to
3.3 GB) take turns.
"""

import signal
import zlib

import pytest

from ssld.stopping import SIGNALS

# A shell lets what it starts in the background ignore Ctrl-C, nohup lets it ignore SIGHUP, and commands keep it so.
# Tests that send these signals start commands for which this process, the parent of all of them, listens again.
for _number in SIGNALS:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


def pytest_addoption(parser):
    parser.addoption("--shard", default="1/1", metavar="I/N", help="run the I-th of N parts of the tests")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config, items):
    part, _, parts = config.getoption("--shard").partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--shard {part}/{parts}: give I/N with I from 1 to N, e.g. 2/4")
    shards = {True: [], False: []}
    for item in items:
        shards[zlib.crc32(item.nodeid.encode()) % int(parts) == int(part) - 1].append(item)
    config.hook.pytest_deselected(items=shards[False])
    items[:] = shards[True]
    for item in items if config.pluginmanager.hasplugin("xdist") else ():
        alone = item.path.parent.name == "parity" or item.path.stem == "test_smoke"
        if not alone or "_wsl" in item.name:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
