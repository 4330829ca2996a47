"""TensorRT on an NVIDIA GPU, from the plan that an export for this machine holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy import contract as contracts
from ssld.deploy.engines import _tensorrt
from ssld.deploy.engines.registry import ENGINES, Run, model_file
from ssld.errors import DeployError


@ENGINES.register
@dataclass(frozen=True)
class TensorRTPlan:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {name: "tensorrt" for name in ("fp32", "fp16", "int8")}

    def why_not(self) -> str | None:
        return _tensorrt.why_not()

    def load(self, folder: Path) -> Run:
        file = model_file(self, folder)
        precision = contracts.read(folder).get("plan", {}).get("precision")
        if precision != self.precision:
            what = f"was built in {precision}, not in {self.precision}"
            raise DeployError(f"{file}: {what}; choose that precision, or export it again with --precision")
        return _tensorrt.load(file)
