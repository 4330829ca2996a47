"""Paddle Lite runs on the CPU: of phones (see `phone_command`), and of this machine where its Python package is."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ssld.deploy.child_process import reason
from ssld.deploy.engines.registry import ENGINES, Run, model_file
from ssld.errors import DeployError

ON_PHONE = "/data/local/tmp/ssld"


@ENGINES.register
@dataclass(frozen=True)
class PaddleLite:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "paddlelite"}

    def why_not(self) -> str | None:
        if find_spec("paddlelite"):
            return None
        return "paddlelite is not installed; pip install paddlelite where there is a wheel, or measure on a phone"

    def load(self, folder: Path) -> Run:
        """Load the file. Raises DeployError when it is no model for this kind of processor: see `--lite-target` of the
        export.

        API: paddlepaddle.org.cn/lite, Python API of 2.12.
        """
        from paddlelite import lite

        file = model_file(self, folder)
        config = lite.MobileConfig()
        config.set_model_from_file(str(file))
        config.set_threads(self.threads)
        try:
            predictor = lite.create_paddle_predictor(config)
        except RuntimeError as error:
            raise DeployError(f"{file}: Paddle Lite cannot load it; {reason(str(error))}") from error

        def run(images: np.ndarray) -> np.ndarray:
            predictor.get_input(0).from_numpy(images)
            predictor.run()
            return predictor.get_output(0).numpy()

        return run


def phone_command(file: Path, contract: dict[str, Any], threads: int = 1) -> str:
    """Return the shell commands that measure `model.nb` on a phone as the published numbers were: 10 + 30 runs, batch
    1.

    `benchmark_bin` comes with Paddle Lite (built with --with_benchmark=ON, or from its downloads).
    """
    size = contract["input"]["size"]
    shape = f"1,{size},{size},3" if contract["input"].get("layout") == "NHWC" else f"1,3,{size},{size}"
    options = f"--optimized_model_file={file.name} --input_shape={shape} --warmup=10 --repeats=30 --threads={threads}"
    return (
        f"adb shell mkdir -p {ON_PHONE} && adb push benchmark_bin {file} {ON_PHONE}/ && "
        f'adb shell "cd {ON_PHONE} && chmod +x benchmark_bin && ./benchmark_bin {options} --backend=arm"'
    )
