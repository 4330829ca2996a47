"""What a measurement of speed depends on beside the network: the machine, its clock, its load, the libraries."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ssld import runtime

PACKAGES = ("openvino", "onnxruntime-gpu", "tensorrt", "paddlelite", "pillow")
POLICY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
TURBO = {Path("/sys/devices/system/cpu/intel_pstate/no_turbo"): "0", Path("/sys/devices/system/cpu/cpufreq/boost"): "1"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
GPU_FACTS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "persistence_mode", "power.limit", "memory.total")


def describe() -> dict[str, Any]:
    """Device, cores, affinity, clock, load, GPU, versions, and `notes`: what of it may disturb a measurement."""
    load = os.getloadavg()[0]
    allowed = sorted(os.sched_getaffinity(0))
    facts: dict[str, Any] = {
        "device": runtime.hardware(),
        "cores": os.cpu_count(),
        "affinity": allowed,
        "governor": _read(POLICY / "scaling_governor"),
        "turbo": next((_read(file) == on for file, on in TURBO.items() if file.is_file()), None),
        "load": round(load, 2),
        "threads_set": {name: os.environ[name] for name in THREADS if name in os.environ},
        "gpu": gpu(),
        "versions": runtime.versions(*PACKAGES),
    }
    return facts | {"notes": notes(facts)}


def notes(facts: dict[str, Any]) -> list[str]:
    """Sentences about what may disturb a measurement on such a machine."""
    found = []
    if facts["governor"] is None:
        found.append("the clock of the processor cannot be seen: it may change while measuring")
    elif facts["governor"] != "performance":
        how = "`cpupower frequency-set -g performance`"
        found.append(f"the clock changes with the load (governor {facts['governor']}); {how}")
    if facts["turbo"]:
        found.append("turbo is on: the clock depends on temperature and on the other cores")
    if facts["load"] > 0.5:
        found.append(f"other programs are running: load {facts['load']} on {len(facts['affinity'])} cores")
    if len(facts["affinity"]) == facts["cores"]:
        found.append("not bound to cores; `taskset -c 0 ssld bench ...` for one thread")
    for card in facts["gpu"]:
        if card.get("clocks.sm") != card.get("clocks.max.sm"):
            found.append(f"the clock of the {card.get('name')} is not fixed; `nvidia-smi --lock-gpu-clocks`")
    return found


def gpu() -> list[dict[str, str]]:
    """What nvidia-smi says of each GPU; [] without it."""
    return [dict(zip(GPU_FACTS, row, strict=False)) for row in _nvidia_smi("gpu", GPU_FACTS)]


def gpu_memory(process: int) -> int | None:
    """Bytes that a process holds on GPUs, by nvidia-smi; None where it does not say."""
    rows = _nvidia_smi("compute-apps", ("pid", "used_memory"))
    held = [int(used.split()[0]) << 20 for pid, used in rows if pid == str(process) and used.split()[0].isdecimal()]
    return sum(held) if held else None


def _nvidia_smi(what: str, fields: tuple[str, ...]) -> list[list[str]]:
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
