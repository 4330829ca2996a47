"""This module is the part of TensorRT's Python API that the project calls, as it is documented, on ONNX Runtime.

A plan is the ONNX file with its profile; running one reads and writes the addresses that it gets. A call that the real
package does not have, or one with other types, fails here too.
"""

import ctypes
import json
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

STREAM = 7
PENDING: list[Callable[[], None]] = []
"""What a GPU has been given to do: it is done when somebody waits for the stream."""


def stream(device: int) -> SimpleNamespace:
    """It stands in for paddle.device.cuda.current_stream."""
    return SimpleNamespace(cuda_stream=STREAM, synchronize=lambda: [PENDING.pop(0)() for _ in list(PENDING)])


class BuilderFlag(IntEnum):
    TF32 = 5


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class Logger:
    WARNING, ERROR = 2, 1

    def __init__(self, severity: int):
        self.severity = severity


class HostMemory(bytes):
    """It has the buffer protocol, as IHostMemory has."""


class Tensor:
    def __init__(self, name: str, shape: list[Any]):
        self.name, self.shape = name, tuple(side if isinstance(side, int) else -1 for side in shape)


class Network:
    def __init__(self, flags: int):
        assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.source = b""

    def get_input(self, number: int) -> Tensor:
        entry = session(self.source).get_inputs()[number]
        return Tensor(entry.name, entry.shape)


class Error:
    def desc(self) -> str:
        return "In node 0: UNSUPPORTED_NODE"


class OnnxParser:
    num_errors = 1

    def __init__(self, network: Network, logger: Logger):
        self.network = network

    def parse_from_file(self, file: str) -> bool:
        with open(file, "rb") as stream:
            self.network.source = stream.read()
        return len(self.network.source) > 100

    def get_error(self, number: int) -> Error:
        return Error()


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert all(isinstance(shape, tuple) for shape in (min, opt, max))
        self.shapes[input] = [list(min), list(opt), list(max)]


class TimingCache:
    def __init__(self, data: bytes):
        self.data = data

    def serialize(self) -> HostMemory:
        return HostMemory(self.data + b"+timings")


class Config:
    def __init__(self) -> None:
        self.cleared: list[BuilderFlag] = []
        self.profile: Profile | None = None
        self.cache: TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if cache.data.startswith(b"other GPU") and not ignore_mismatch:
            return False
        self.cache = cache
        return True


class Builder:
    def __init__(self, logger: Logger):
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> HostMemory | None:
        assert config.cleared == [BuilderFlag.TF32]
        assert config.cache is not None
        shapes = config.profile.shapes if config.profile else {}
        return HostMemory(json.dumps(shapes).encode() + b"\n" + network.source)


class Context:
    def __init__(self, shapes: dict[str, list[list[int]]], source: bytes):
        self.session, self.shapes, self.addresses = session(source), shapes, dict[str, int]()
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == self.session.get_inputs()[0].name
        low, _, high = self.shapes.get(name, [self.session.get_inputs()[0].shape] * 3)
        self.shape = shape
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], self.session.get_outputs()[0].shape[1])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert isinstance(memory, int)
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        source, target = self.session.get_inputs()[0], self.session.get_outputs()[0]
        kind = np.uint8 if source.type == "tensor(uint8)" else np.float32
        source_array = memory(self.addresses[source.name], self.shape, kind)
        target_array = memory(self.addresses[target.name], self.get_tensor_shape(target.name), np.float32)
        answer = self.session.run(None, {source.name: source_array})[0]
        PENDING.append(lambda: np.copyto(target_array, answer))
        return stream_handle == STREAM


class Engine:
    def __init__(self, plan: bytes):
        shapes, _, self.source = plan.partition(b"\n")
        self.shapes = json.loads(shapes)

    def get_tensor_name(self, index: int) -> str:
        built = session(self.source)
        return [*built.get_inputs(), *built.get_outputs()][index].name

    def create_execution_context(self) -> Context:
        return Context(self.shapes, self.source)


class Runtime:
    def __init__(self, logger: Logger):
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        return Engine(serialized_engine) if serialized_engine.startswith(b"{") else None


def memory(address: int, shape: tuple[int, ...], kind: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(shape)


def session(source: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])


def module(version: str = "10.9.0") -> ModuleType:
    made = ModuleType("tensorrt")
    names = (BuilderFlag, NetworkDefinitionCreationFlag, Logger, OnnxParser, Builder, Runtime)
    made.__dict__.update({name.__name__: name for name in names} | {"__version__": version})
    return made
