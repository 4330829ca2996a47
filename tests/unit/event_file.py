"""This module reads TensorBoard's event files without TensorBoard."""

import struct
from collections import defaultdict
from pathlib import Path
from typing import Any


def values(folder: Path) -> list[tuple[int, Any]]:
    """Yield (step, value) of every event. A record is its length (8 bytes), a checksum, a protobuf, a checksum."""
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c

    result = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack("<Q", data[at : at + 8])
            body = data[at + 12 : at + 12 + size]
            head, tail = (struct.unpack("<I", data[i : i + 4])[0] for i in (at + 8, at + 12 + size))
            assert (head, tail) == (masked_crc32c(data[at : at + 8]), masked_crc32c(body))
            event = event_pb2.Event()
            event.ParseFromString(body)
            result += [(event.step, value) for value in event.summary.value]
            at += 16 + size
    return result


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return {tag: [(step, value) of each event]}."""
    result: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, value in values(folder):
        if value.WhichOneof("value") == "simple_value":
            result[value.tag].append((step, value.simple_value))
    return result
