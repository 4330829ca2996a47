"""Run an inference program of Paddle in Paddle Inference. Paddle is imported when a program is read."""

import json
import math
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ssld.errors import RunError
from ssld.files import sha256
from ssld.foreign.tensors import AnyArray, Image, only_input

PROGRAMS = (".json", ".pdmodel")  # suffixes of Paddle 3, whose programs are PIR, and of Paddle 2
WEIGHTS = ".pdiparams"
NEWEST_PIR = 4  # the version that PaddlePaddle 3.3 writes; Paddle Inference reads a higher one without a word
HINT = re.compile(r"\[(operator|Hint):?.*|\(at /\S+\)")  # Paddle puts this after the reason
DTYPES = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}  # name in a program of Paddle 2 -> name in NumPy


class PaddleEngine:
    """Run a program with its weights, `NAME.json` or `NAME.pdmodel` and `NAME.pdiparams`.

    It gives its outputs alone.
    """

    def __init__(self, path: Path, threads: int, gpu: int | None):
        import paddle

        self.title = f"PaddlePaddle {paddle.__version__}"
        self.file = program_file(path)
        self.where, self.threads, self.gpu = str(self.file), threads, gpu
        reader = _read_pir if self.file.suffix == ".json" else _read_program2
        images = reader(self.file, self.title)
        only_input([image.name for image in images], self.where)
        self.image = images[0]
        self._predictor = self._start()
        self.outputs = self.tensors = tuple(self._predictor.get_output_names())

    def load(self, wanted: Sequence[str]) -> None:
        self._input = self._predictor.get_input_handle(self.image.name)
        self._results = [self._predictor.get_output_handle(name) for name in wanted]

    def _start(self) -> Any:
        import paddle.inference

        config = paddle.inference.Config(str(self.file), str(self.file.with_suffix(WEIGHTS)))
        config.disable_glog_info()
        if self.gpu is None:
            config.disable_gpu()
            config.disable_mkldnn()  # with Paddle's own kernels the bits do not depend on oneDNN
            config.set_cpu_math_library_num_threads(self.threads)
        else:
            config.enable_use_gpu(256, self.gpu)
            if not config.use_gpu():
                what = f"{self.title} does not take GPU {self.gpu}"
                raise RunError(f"{self.where}: {what}; install paddlepaddle-gpu in place of paddlepaddle")
        try:
            return paddle.inference.create_predictor(config)
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            what = f"{self.title} cannot load it ({_reason(str(error))})"
            raise RunError(f"{self.where}: {what}; export it again with this version of Paddle") from error

    def run(self, images: AnyArray) -> list[AnyArray]:
        try:
            self._input.copy_from_cpu(images)
            self._predictor.run()
            return [result.copy_to_cpu() for result in self._results]
        except (RuntimeError, ValueError, TypeError, OSError, MemoryError) as error:
            what = f"{self.title} cannot run it on {images.dtype} {list(images.shape)} ({_reason(str(error))})"
            raise RunError(f"{self.where}: {what}; check input.size and input.layout") from error

    def digests(self) -> dict[str, str]:
        return program_digests(self.file)


def program_digests(path: Path) -> dict[str, str]:
    """Return sha256 of the program at a path and of its weights. It raises RunError where `program_file` finds none."""
    file = program_file(path)
    return {"program": sha256(file), "weights": sha256(_weights(file))}


def program_file(path: Path) -> Path:
    """Return the program at a path: the file itself, a path without its suffix, or a folder that holds one program.

    It raises RunError unless that names exactly one program, with its weights beside it.
    """
    if path.is_dir():
        programs = sorted(file for file in path.iterdir() if file.suffix in PROGRAMS and _weights(file).is_file())
        if not programs and (path / "__model__").is_file():
            what = "holds a program of Paddle 1; write it again with Paddle 2 (load_inference_model, "
            raise RunError(f"{path}: {what}save_inference_model), as NAME.pdmodel and NAME.pdiparams")
    else:
        programs = [path] if path.suffix in PROGRAMS else [path.with_name(path.name + suffix) for suffix in PROGRAMS]
        programs = [file for file in programs if file.is_file()]
    if not programs:
        names_needed = f"NAME{PROGRAMS[0]} or NAME{PROGRAMS[1]} with NAME{WEIGHTS}"
        raise RunError(f"{path}: no inference program of Paddle; give a folder with {names_needed}, or the path of one")
    if len(programs) > 1:
        names = ", ".join(file.name for file in programs)
        raise RunError(f"{path}: several programs ({names}); give the path of one of these files")
    if not _weights(programs[0]).is_file():
        raise RunError(f"{programs[0]}: its weights {_weights(programs[0]).name} are not beside it; copy both files")
    return programs[0]


def _weights(program: Path) -> Path:
    return program.with_suffix(WEIGHTS)


def _read_pir(file: Path, title: str) -> list[Image]:
    """Return the inputs of a program of Paddle 3.

    It raises RunError where the file is none, or newer than this Paddle.
    """
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        version = tree["base_code"]["version"] if tree["base_code"]["magic"] == "pir" else None
        operators = tree["program"]["regions"][0]["blocks"][0]["ops"]
        inputs = [_attributes(operator) for operator in operators if operator["#"] == "1.data"]
        images = [
            Image(attributes["name"], tuple(map(_size, attributes["shape"])), attributes["dtype"])
            for attributes in inputs
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        version, images = None, []
    if version is None:
        raise RunError(f"{file}: is no program of Paddle 3; export it again")
    if version > NEWEST_PIR:
        what = f"a program of version {version}, {title} reads up to {NEWEST_PIR}"
        raise RunError(f"{file}: {what}; export it again with this version of Paddle")
    return images


def _attributes(operator: Any) -> dict[str, Any]:
    return {entry["N"]: entry["AT"]["D"] for entry in operator["A"]}


def _read_program2(file: Path, title: str) -> list[Image]:
    """Return the inputs of a program of Paddle 2.

    It raises RunError where the file is none, because such a file would end the process later.
    """
    decode_error: type[Exception] = import_module("google.protobuf.message").DecodeError
    proto = import_module("paddle.base.proto.framework_pb2")
    program = proto.ProgramDesc()
    try:
        program.ParseFromString(file.read_bytes())
    except decode_error:
        program.Clear()
    if not program.blocks:
        raise RunError(f"{file}: is no program of Paddle 2; export it again")
    if (version := program.version.version) > _version(title):
        by = f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}"
        raise RunError(f"{file}: a program of Paddle {by}, this is {title}; export it again with this version")
    block = program.blocks[0]
    tensors = {variable.name: variable.type.dense_tensor.tensor for variable in block.vars}
    input_names = [operator.outputs[0].arguments[0] for operator in block.ops if operator.type == "feed"]
    return [Image(name, tuple(map(_size, tensors[name].dims)), _dtype(proto, tensors[name])) for name in input_names]


def _dtype(proto: Any, tensor: Any) -> str:
    name: str = proto.VarType.Type.Name(tensor.data_type)
    return DTYPES.get(name, name.lower())


def _version(title: str) -> float:
    """Turn `PaddlePaddle 3.3.1` into 3003001, as a program notes it; a build from the sources, 0.0.0, reads all."""
    numbers = [int("0" + re.sub(r"\D.*", "", part)) for part in title.split()[-1].split(".")[:3]]
    return sum(number * 1000**place for place, number in enumerate(reversed(numbers))) or math.inf


def _size(size: int) -> int | None:
    return size if size > 0 else None


def _reason(text: str, limit: int = 300) -> str:
    """Return the last line of an error of Paddle that says something."""
    lines = [HINT.sub("", " ".join(line.split())).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if re.search(r"\w{3}", line)), "it gave no reason")[:limit].rstrip(
        ". "
    )
