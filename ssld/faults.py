"""Let a test end this process, or let the disk fail, at a moment that chance would hardly ever meet.

A moment is a place in the code that writes files: `begun` (the file is there and empty), `written` (its content is
written, not flushed, and it has not its name yet), `renamed` (it has its name; its folder is not flushed) and `added`
(a line was added to it). Nothing happens unless $SSLD_FAULT is set, to an action, a moment, a pattern of files and a
number:

    KILL renamed */manifest.json 2     SIGKILL, when this moment comes for the second time
    ENOSPC begun *.labels 1            this error of the system, from the first time on
    TELL * * 1                         each moment and its file on standard error
"""

import errno
import os
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path

FAULT = "SSLD_FAULT"  # environment variable
_passed = 0  # how often this process has passed the moment


def moment(name: str, file: Path) -> None:
    """Pass a moment of a file, which has the name that it gets at last. Raises OSError where a test says so."""
    global _passed
    if not (fault := os.environ.get(FAULT)):
        return
    action, at, pattern, count = fault.split(" ")
    if not (fnmatchcase(name, at) and fnmatchcase(str(file), pattern)):
        return
    _passed += 1
    if action == "TELL":
        sys.stderr.write(f"{FAULT} {name} {file}\n")
    elif action == "KILL" and _passed == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    elif action != "KILL" and _passed >= int(count):
        number = getattr(errno, action)
        raise OSError(number, os.strerror(number), str(file))
