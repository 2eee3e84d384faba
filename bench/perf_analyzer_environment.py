"""Where perf_analyzer is: the load generator for gRPC of NVIDIA's client package for Triton, a program in C++."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from bench.environment import BUILD, environment_python, last_line, run_or_skip
from bench.perf_analyzer import PerfAnalyzer
from bench.topology import SkippedError

VARIABLE: Final = "RINGSERVE_PERF_ANALYZER"
_FOLDER: Final = BUILD / "bench-perf-analyzer"
_PACKAGES: Final = ("--no-deps", "tritonclient==2.45.0")  # the last ones of the package's releases have no such program
_NAME: Final = "perf_analyzer"
_VERSION_SECONDS: Final = 20.0

# What the program is linked against, and uses for Triton's shared memory and for tensors as base64 alone, not for what it
# is asked here. Its loader insists on each name all the same.
_ABSENT: Final = {
    "libb64.so.0d": (
        "base64_init_encodestate base64_encode_block base64_encode_blockend base64_init_decodestate base64_decode_block"
    ),
    "libcudart.so.12": (
        "cudaFree cudaGetErrorName cudaGetErrorString cudaIpcGetMemHandle cudaMalloc cudaMemcpy cudaSetDevice"
    ),
}
_SOURCE: Final = """\
#include <stdio.h>
#include <stdlib.h>
#define ABSENT(name) void name(void) { fputs(#name " is not in this environment\\n", stderr); abort(); }
"""


def found_perf_analyzer(named: str = "", folder: Path = _FOLDER) -> PerfAnalyzer:
    """The program `named`, or the one that the environment variable names, or on the PATH, or in an environment of its own.

    Raises SkippedError when it does not run here, and when the environment can't be made.
    """
    program = named or os.environ.get(VARIABLE) or shutil.which(_NAME)
    found = PerfAnalyzer(program) if program else _own(folder)
    try:
        done = subprocess.run(
            [found.program, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            env=found.environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SkippedError(f"{found.program} does not run: {error}") from error
    if done.returncode:
        raise SkippedError(f"{found.program} does not run: {last_line(done.stderr)}")
    return found


def _own(folder: Path) -> PerfAnalyzer:
    if platform.machine() != "x86_64":
        raise SkippedError(f"there is no {_NAME} for {platform.machine()}")
    python = environment_python(folder, _PACKAGES, _NAME)
    libraries = folder / "absent"
    if not libraries.is_dir():
        _build(libraries)
    return PerfAnalyzer(str(python.with_name(_NAME)), libraries)


def _build(libraries: Path) -> None:
    """Libraries whose functions, should they be called, say that they are not here and end the process."""
    why = f"{_NAME}'s libraries can't be made, which takes a C compiler"
    with tempfile.TemporaryDirectory(prefix=".absent-", dir=libraries.parent) as scratch:
        for name, functions in _ABSENT.items():
            source, versions = Path(scratch) / "absent.c", Path(scratch) / "versions"
            source.write_text(_SOURCE + "".join(f"ABSENT({function})\n" for function in functions.split()), encoding="utf-8")
            versions.write_text(f"{name} {{ global: *; }};\n", encoding="utf-8")
            library = Path(scratch) / "made" / name
            library.parent.mkdir(exist_ok=True)
            command = ["cc", "-shared", "-fPIC", f"-Wl,--version-script={versions}", "-o", str(library), str(source)]
            run_or_skip(command, why)
        library.parent.rename(libraries)
