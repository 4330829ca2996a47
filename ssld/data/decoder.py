"""Ask DALI about one JPEG file at a time: would the decoder of a training read it?"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ssld.data.graph import decode_graph

NOTHING = np.zeros((1, 1), dtype=np.int32)  # the graph hands on an image's job; there is no job here


class _Decoder:
    """Run the decoding graph of the loaders for one image; the graph is built when it is first asked."""

    def __init__(self) -> None:
        self._pipe: Any = None
        self._data = np.empty(0, dtype=np.uint8)

    def refusal(self, data: bytes) -> str | None:
        self._data = np.frombuffer(data, dtype=np.uint8)
        try:
            if self._pipe is None:
                alone: dict[str, Any] = {"batch_size": 1, "num_threads": 1, "device_id": None}
                alone["prefetch_queue_depth"] = 1
                self._pipe = decode_graph(lambda: ([self._data], NOTHING), crop=False, **alone)
                self._pipe.build()
            self._pipe.run()
        except RuntimeError:
            self._pipe = None  # a pipeline is beyond use after any failure
            return "damaged JPEG data, which DALI's decoder refuses"
        return None


_OF_THREAD = threading.local()


def refusal(data: bytes) -> str | None:
    """Say why DALI on a CPU does not decode these bytes, in a few words, or return None when it does.

    It is thread-safe.
    """
    if not hasattr(_OF_THREAD, "decoder"):
        _OF_THREAD.decoder = _Decoder()
    decoder: _Decoder = _OF_THREAD.decoder
    return decoder.refusal(data)
