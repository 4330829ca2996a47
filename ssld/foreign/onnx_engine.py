"""Run an ONNX file in ONNX Runtime. The packages onnx and onnxruntime are imported when a file is read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssld.errors import RunError
from ssld.files import sha256
from ssld.foreign.tensors import AnyArray, Image, only_input

CUDA = "CUDAExecutionProvider"
FOLDER_KEY = "session.model_external_initializers_file_folder_path"
FOLDER_SINCE = (1, 21)  # the first ONNX Runtime that knows FOLDER_KEY (measured: 1.20.1 does not, 1.21.1 does)
NO_OPERATOR = re.compile(
    r"No Op registered for (\S+)|Fatal error: (\S+?)\(-?\d+\) is not a registered|"
    r"Could not find an implementation for (\S+?)\(\d+\)"
)
TOO_NEW = re.compile(r"released onnx opset|Unsupported model IR version")
# ONNX Runtime puts this before the reason: its own mark and code, and the place in its C++ source.
PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Failed to load model with error: |/\S+:\d+ .*?\) (?=\w)")


class OnnxEngine:
    """Run an ONNX file. Each named tensor of its graph can be asked for: ONNX Runtime gets it as one more output."""

    def __init__(self, file: Path, threads: int, gpu: int | None):
        self.file, self.where, self.threads, self.gpu = file, str(file), threads, gpu
        check_packages()
        import onnxruntime

        self.title = f"ONNX Runtime {onnxruntime.__version__}"
        self._model = _read(file)
        self._external = _external_files(self._model, file)
        graph = self._model.graph
        weights = {tensor.name for tensor in graph.initializer}
        name = only_input([value.name for value in graph.input if value.name not in weights], self.where)
        self.image = _image(next(value for value in graph.input if value.name == name))
        self.outputs = tuple(value.name for value in graph.output)
        inner = (name for node in graph.node for name in node.output if name)
        self.tensors = tuple(dict.fromkeys((*self.outputs, *inner)))

    def load(self, wanted: Sequence[str]) -> None:
        """Build the session. ONNX Runtime reads the file itself where `wanted` names its outputs alone.

        Otherwise it gets the graph from memory, without the weights that lie in other files, and their folder.
        """
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        source: str | bytes = str(self.file)
        if added := [name for name in wanted if name not in self.outputs]:
            self._check_folder(added[0], onnxruntime.__version__)
            options.add_session_config_entry(FOLDER_KEY, str(self.file.resolve().parent))
            self._model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in added)
            source = self._model.SerializeToString()
        self._wanted = list(wanted)
        self._session = self._start(source, options)
        del self._model  # the model takes up to 2 GiB

    def _check_folder(self, tensor: str, version: str) -> None:
        if self._external and tuple(int(part) for part in version.split(".")[:2]) < FOLDER_SINCE:
            what = f"{tensor!r} is no output, and {self.title} gives no inner tensors of a file with external weights"
            raise RunError(f"{self.where}: {what}; pip install -U onnxruntime, or export it as an output")

    def _start(self, source: str | bytes, options: Any) -> Any:
        import onnxruntime

        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if self.gpu is not None:
            self._check_cuda(onnxruntime.get_available_providers())
            if hasattr(onnxruntime, "preload_dlls"):  # it finds CUDA and cuDNN where they are Python packages
                onnxruntime.preload_dlls()
            providers.insert(0, (CUDA, {"device_id": str(self.gpu), "use_tf32": "0"}))
        try:
            session = onnxruntime.InferenceSession(source, options, providers=providers)
        except Exception as error:  # its exceptions have no common base of their own
            raise RunError(self._why_not(str(error))) from error
        if self.gpu is not None:
            self._check_cuda(session.get_providers())  # ONNX Runtime goes on with the CPU where CUDA fails
        return session

    def _check_cuda(self, providers: Sequence[str]) -> None:
        if CUDA not in providers:
            what = f"{self.title} does not take GPU {self.gpu}"
            raise RunError(f"{self.where}: {what}; install onnxruntime-gpu and the CUDA and cuDNN that it asks for")

    def _why_not(self, text: str) -> str:
        """Make one line of an error of ONNX Runtime at loading."""
        if TOO_NEW.search(text):
            opset = max((entry.version for entry in self._model.opset_import if not entry.domain), default=0)
            what = f"opset {opset} and IR version {self._model.ir_version} are newer than {self.title} knows"
            return f"{self.where}: {what}; pip install -U onnxruntime, or export with an older opset"
        if operator := NO_OPERATOR.search(text):
            name = next(filter(None, operator.groups()))
            return f"{self.where}: {self.title} has no operator {name}; export with the standard operators of ONNX"
        return f"{self.where}: {self.title} cannot load it ({_reason(text)}); export it again"

    def run(self, images: AnyArray) -> list[AnyArray]:
        try:
            results: list[AnyArray] = self._session.run(self._wanted, {self.image.name: images})
        except Exception as error:  # its exceptions have no common base of their own
            what = f"{self.title} cannot run it on {images.dtype} {list(images.shape)} ({_reason(str(error))})"
            raise RunError(f"{self.where}: {what}; check input.size and input.layout") from error
        return results

    def digests(self) -> dict[str, str]:
        return _digests(self.file, self._external)


def onnx_digests(file: Path) -> dict[str, str]:
    """Return sha256 of an ONNX file (`model`) and of each file beside it that holds its weights.

    It raises RunError where one is missing or cannot be read.
    """
    check_packages()
    return _digests(file, _external_files(_read(file), file))


def _digests(file: Path, external: Mapping[str, Path]) -> dict[str, str]:
    return {"model": sha256(file), **{name: sha256(path) for name, path in external.items()}}


def check_packages() -> None:
    """Raise RunError for the first package that is not installed."""
    for package in ("onnxruntime", "onnx"):
        if find_spec(package) is None:
            raise RunError(f"{package}: not installed, an ONNX teacher needs it; pip install 'ssld[engines]'")


def _read(file: Path) -> Any:
    """Return the onnx.ModelProto of a file, without the weights that lie in other files.

    It raises RunError where it is none.
    """
    import onnx

    decode_error: type[Exception] = import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load_model_from_string(file.read_bytes())
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror}); give the path of an ONNX file") from None
    except decode_error:
        raise RunError(f"{file}: is no ONNX file; export the network again") from None
    if not (model.graph.node and model.graph.output and model.opset_import):
        raise RunError(f"{file}: holds no ONNX graph; export the network again")
    return model


def _external_files(model: Any, file: Path) -> dict[str, Path]:
    """Return location -> path of each file with weights of the model.

    It raises RunError where a file is missing or outside the folder.
    """
    import onnx

    paths: dict[str, Path] = {}
    for tensor in _weights(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        paths[location] = _beside(file, location)
    return dict(sorted(paths.items()))


def _beside(file: Path, location: str) -> Path:
    """Return the path of a file in the folder of another one. It raises RunError where it is not there."""
    shown, folder = repr(location[:200]), file.resolve().parent
    try:
        path = (folder / location).resolve()
        is_there = path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or that holds a null byte
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{file}: has weights at {shown}, which is no path ({reason}); export it again") from None
    if not (location and path.is_relative_to(folder)):
        raise RunError(f"{file}: has weights at {shown}, outside its folder; export it again")
    if not is_there:
        raise RunError(f"{file}: its weights {shown} are not beside it; copy both files")
    return path


def _weights(graph: Any) -> Iterator[Any]:
    """Yield every onnx.TensorProto of a graph and of the graphs inside its operators."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t, *attribute.tensors]
            for inner in [attribute.g, *attribute.graphs]:
                yield from _weights(inner)


def _image(value: Any) -> Image:
    """Turn an onnx.ValueInfoProto into data."""
    import onnx

    kind = value.type.tensor_type
    shape = tuple(map(_size, kind.shape.dim)) if kind.HasField("shape") else None
    name = onnx.TensorProto.DataType.Name(kind.elem_type)
    dtype = {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())
    return Image(value.name, shape, dtype)


def _reason(text: str, limit: int = 300) -> str:
    return PREFIX.sub("", " ".join(text.split()))[:limit].rstrip(". ")


def _size(axis: Any) -> int | None:
    """Return the size of an axis, None where it has a name or nothing; some exporters write -1 for a dynamic one."""
    return axis.dim_value if axis.dim_value > 0 else None
