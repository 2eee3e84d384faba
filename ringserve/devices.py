"""Devices: which ones the server runs a worker on, as `--devices` names them."""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from ringserve.errors import Code, ServingError

MAX_CPU_WORKERS = 1024  # a slip of the finger must not ask for a million processes

_INDICES = re.compile(r"[0-9]{1,4}(,[0-9]{1,4})*")
_GRAMMAR = "expected auto, cpu:N (N workers on the CPU) or gpu:I,J,... (one worker a GPU)"


def detect_gpus(
    environ: Mapping[str, str] = os.environ, proc: str = "/proc/driver/nvidia/gpus", dev: str = "/dev"
) -> list[int]:
    """Indices of the GPUs this process may use, as the driver numbers them (not renumbered from 0).

    CUDA_VISIBLE_DEVICES is read as CUDA does: the list ends at the first entry that names no GPU.
    Raises ServingError (INVALID_ARGUMENT) for a GPU or MIG identifier there that cannot be given an index:
    falling back to the CPU in silence would be far slower than its owner expects.
    """
    uuids = _gpu_uuids(proc, dev)
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(len(uuids)))
    gpus: list[int] = []
    for entry in (part.strip() for part in wanted.split(",")):
        index = _gpu_index(entry, uuids)
        if index is None:
            break
        if index not in gpus:
            gpus.append(index)
    return gpus


def parse_devices(text: str, visible_gpus: Callable[[], Sequence[int]] = detect_gpus) -> list[str]:
    """Device names, one a worker: `cpu:2` gives cpu:0 and cpu:1; `gpu:0,3` gives gpu:0 and gpu:3.

    `auto` takes every visible GPU, or one CPU worker where there is none.
    Raises ServingError (INVALID_ARGUMENT) for a text outside the grammar.
    """
    if text == "auto":
        return [f"gpu:{index}" for index in visible_gpus()] or ["cpu:0"]
    kind, _, numbers = text.partition(":")
    if not _INDICES.fullmatch(numbers):
        raise _malformed(text, _GRAMMAR)
    indices = [int(number) for number in numbers.split(",")]
    if kind == "cpu" and len(indices) == 1:
        if not 1 <= indices[0] <= MAX_CPU_WORKERS:
            raise _malformed(text, f"expected 1 to {MAX_CPU_WORKERS} CPU workers")
        return [f"cpu:{index}" for index in range(indices[0])]
    if kind == "gpu":
        if len(set(indices)) < len(indices):
            raise _malformed(text, "a GPU is named twice")
        return [f"gpu:{index}" for index in indices]
    raise _malformed(text, _GRAMMAR)


def _malformed(text: str, reason: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"Couldn't interpret devices {text!r}: {reason}.")


def _gpu_uuids(proc: str, dev: str) -> list[str]:
    """One entry a GPU, in PCI order: its UUID, or "" where the driver does not tell."""
    try:
        return [_read_uuid(os.path.join(proc, gpu, "information")) for gpu in sorted(os.listdir(proc))]
    except FileNotFoundError:
        # Some sandboxes pass the device nodes through and hide the driver's /proc tree.
        nodes = os.listdir(dev) if os.path.isdir(dev) else []
        return [""] * sum(re.fullmatch(r"nvidia[0-9]+", node) is not None for node in nodes)


def _read_uuid(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as information:
            for line in information:
                key, _, value = line.partition(":")
                if key.strip() == "GPU UUID":
                    return value.strip()
    except OSError:
        pass
    return ""


def _gpu_index(entry: str, uuids: Sequence[str]) -> int | None:
    """The index an entry of CUDA_VISIBLE_DEVICES stands for; None where it ends the list."""
    if re.fullmatch(r"[0-9]+", entry):
        return int(entry) if int(entry) < len(uuids) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None  # "", "-1", Slurm's "NoDevFiles": all mean no GPU
    matches = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]  # CUDA takes prefixes
    if len(matches) != 1:
        text = f"CUDA_VISIBLE_DEVICES entry {entry!r} does not name one whole GPU; give --devices=gpu:I."
        raise ServingError(Code.INVALID_ARGUMENT, text)
    return matches[0]
