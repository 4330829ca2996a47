"""This module reads what W&B wrote from its own file, because W&B offers no way to read it offline."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def wandb_records(folder: Path) -> Iterator[Any]:
    """Return the records of every W&B part of a run, in order.

    A `.wandb` file is a LevelDB log: a header of 7 bytes, then blocks of 32 KiB that hold chunks of checksum (4 bytes),
    length (2), kind (1: whole, 2: first, 3: middle, 4: last) and a piece of a serialised protobuf `Record`.
    """
    from wandb.proto import wandb_internal_pb2

    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, content = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            room = 32768 - at % 32768
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            if room < 7 or (size, kind) == (0, 0):
                at += room
                continue
            content, at = content + data[at + 7 : at + 7 + size], at + 7 + size
            if kind in (1, 4):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(content)
                content = b""
                yield record


def plain(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def kinds(folder: Path, kind: str) -> list[Any]:
    """Return the records of one kind (run, history, summary, artifact ...) of a run that is over.

    W&B's own process writes the end of the file a moment after `finish` has returned.
    """
    limit = time.monotonic() + 10
    while True:
        records = [(record.WhichOneof("record_type"), record) for record in wandb_records(folder)]
        if any(name == "exit" for name, _ in records) or time.monotonic() > limit:
            return [getattr(record, kind) for name, record in records if name == kind]
        time.sleep(0.02)
