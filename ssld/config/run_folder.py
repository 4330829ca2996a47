"""Write and read the two files of a run folder that say what the run is and what came out of it."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from ssld.errors import RunError
from ssld.files import JsonTree, damaged, read_json, read_text, write_json, write_whole

PLAN, RESULT, METRICS, REPORT = "plan.yaml", "result.json", "metrics.jsonl", "report.html"
AGAIN = "repeat the `ssld run` command of this run, which makes it anew"
HEAD = re.compile(r"# digest: (?P<digest>[0-9a-f]+)\n(?:# checksum: (?P<checksum>[0-9a-f]+)\n)?")


def write_plan(folder: Path, digest: str, text: str) -> None:
    """Write the YAML text of a plan, with the digest of the plan and a checksum of both in front, whole or not at all.

    Raises OSError where the disk does not take it.
    """
    write_whole(folder / PLAN, f"# digest: {digest}\n# checksum: {_checksum(digest, text)}\n{text}")


def read_plan(folder: Path, advice: str = AGAIN) -> tuple[str, str]:
    """Return the digest of the plan that a run folder keeps, and its YAML text.

    Raises RunError, whose message ends with `advice`, where it cannot be read or is not what was written. An early
    version wrote no checksum; the digest of the plan alone says then whether the text is whole.
    """
    file = folder / PLAN
    whole_text = read_text(file, advice)
    head = HEAD.match(whole_text)
    if head is None:
        raise damaged(file, "it does not begin with the digest of a plan", advice)
    text = whole_text[head.end() :]
    if head["checksum"] not in (None, _checksum(head["digest"], text)):
        raise damaged(file, "its checksum is that of another content", advice)
    return head["digest"], text


def _checksum(digest: str, text: str) -> str:
    return hashlib.sha256(f"{digest}\n{text}".encode()).hexdigest()


def write_result(folder: Path, result: Mapping[str, object]) -> None:
    """Write the result of a run, whole or not at all. Raises OSError where the disk does not take it."""
    write_json(folder / RESULT, result)


def read_result(folder: Path, advice: str = AGAIN) -> JsonTree:
    """Return the result of a finished run.

    Raises RunError where the run is not finished, and, with a message that ends with `advice`, where the file is
    damaged or is that of another run than plan.yaml.
    """
    file = folder / RESULT
    if not file.exists():
        raise RunError(f"{folder}: this run is not finished (no {RESULT}); repeat its `ssld run` command")
    result = read_json(file, advice)
    if (folder / PLAN).exists() and result.get("digest") != read_plan(folder, advice)[0]:
        raise damaged(file, f"it is of another run than {PLAN}", advice)
    return result
