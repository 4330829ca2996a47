"""This module records what a measurement of speed depends on beside the network: machine, clock, load and libraries."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ssld import runtime

PACKAGES = ("openvino", "onnxruntime-gpu", "tensorrt", "paddlelite", "pillow")
POLICY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
TURBO = {Path("/sys/devices/system/cpu/intel_pstate/no_turbo"): "0", Path("/sys/devices/system/cpu/cpufreq/boost"): "1"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
CPUINFO = Path("/proc/cpuinfo")
DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}
SATURATES = (
    "this processor adds products of 8-bit numbers in 16 bits, where large sums saturate: an engine in int8 may answer "
    "here otherwise than on a processor with VNNI, and otherwise than the file says"
)
GPU_FACTS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "persistence_mode", "power.limit", "memory.total")


def describe() -> dict[str, Any]:
    """Return device, cores, affinity, clock, load, GPUs, versions, and `notes` on what may disturb a measurement."""
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
    """Return sentences about what may disturb a measurement on such a machine."""
    sentences = []
    if facts["governor"] is None:
        sentences.append("the clock of the processor cannot be seen: it may change while measuring")
    elif facts["governor"] != "performance":
        how = "`cpupower frequency-set -g performance`"
        sentences.append(f"the clock changes with the load (governor {facts['governor']}); {how}")
    if facts["turbo"]:
        sentences.append("turbo is on: the clock depends on temperature and on the other cores")
    if facts["load"] > 0.5:
        sentences.append(f"other programs are running: load {facts['load']} on {len(facts['affinity'])} cores")
    if len(facts["affinity"]) == facts["cores"]:
        sentences.append("not bound to cores; `taskset -c 0 ssld bench ...` for one thread")
    for card in facts["gpu"]:
        if card.get("clocks.sm") != card.get("clocks.max.sm"):
            sentences.append(f"the clock of the {card.get('name')} is not fixed; `nvidia-smi --lock-gpu-clocks`")
    return sentences


def sums_8_bits_exactly() -> bool:
    """Return whether the processor adds products of 8-bit numbers in 32 bits.

    Older x86 processors add two of them in 16 bits (VPMADDUBSW), where large ones saturate. Where the system does not
    say what the processor can do, True is returned.
    """
    if platform.machine() not in ("x86_64", "aarch64") or not CPUINFO.is_file():
        return True
    lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return bool(flags & DOT_PRODUCTS)


def gpu() -> list[dict[str, str]]:
    """Return what nvidia-smi says of each GPU; [] without nvidia-smi."""
    return [dict(zip(GPU_FACTS, row, strict=False)) for row in _nvidia_smi("gpu", GPU_FACTS)]


def gpu_memory(process: int) -> int | None:
    """Return the bytes that a process holds on GPUs, as nvidia-smi counts them; None where it does not say."""
    rows = _nvidia_smi("compute-apps", ("pid", "used_memory"))
    sizes = [
        int(amount.split()[0]) << 20 for pid, amount in rows if pid == str(process) and amount.split()[0].isdecimal()
    ]
    return sum(sizes) if sizes else None


def _nvidia_smi(what: str, fields: tuple[str, ...]) -> list[list[str]]:
    """Ask nvidia-smi for some fields and return the cells of each row; [] without nvidia-smi or where it fails."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = output.stdout.splitlines() if output.returncode == 0 else []
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]


def _read(file: Path) -> str | None:
    """Return the content of a file of the system, None without the file."""
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
