"""The packages' import direction, and that nothing but a worker ever maps TensorFlow."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: What each package may import of the project, besides itself.
ALLOWED = {
    "shm": set(),
    "ringserve": set(),
    "frontend": {"shm", "ringserve"},
    "workers": {"shm", "ringserve"},
    "manager": {"shm", "ringserve"},
}
#: Allowed inside a function: `ringserve serve` starts the supervisor, and only then needs it; so with `ringserve bench`.
LAZY = {("ringserve.cli", "manager.supervisor"), ("ringserve.cli", "bench.harness"), ("ringserve.cli", "bench.tune")}
#: Modules, by the beginning of their names, that may import `shm`, which imports nothing: the local client has a lane.
ON_SHM = "ringserve.client.shm."

OURS = {*ALLOWED, "bench", "examples", "tests"}


def modules(package: str) -> list[str]:
    """Every module of a package, by its dotted name."""
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths, f"no package {package}"
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """(what a module imports, is it inside a function?) for each import of ours anywhere in it, also one for types only."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative imports hide where they go"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in OURS:
                yield name, id(node) in lazy


@pytest.mark.parametrize("package", ALLOWED)
def test_import_direction(package: str) -> None:
    allowed = ALLOWED[package] | {package}
    wrong = [
        f"{module} imports {name}"
        for module in modules(package)
        for name, lazily in imports(module)
        if name.partition(".")[0] not in (allowed | {"shm"} if module.startswith(ON_SHM) else allowed)
        and not (lazily and (module, name) in LAZY)
    ]
    assert wrong == []


def test_the_check_sees_every_kind_of_import() -> None:
    """A check that finds nothing must be one that could."""
    assert ("manager.supervisor", True) in imports("ringserve.cli")
    assert ("shm.doorbell", False) in imports("manager.child_process")
    assert ("workers.platforms", True) in imports("workers.__main__")


IMPORTER = """
import importlib, json, sys
mapped = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    with open("/proc/self/maps") as maps:
        found = sorted({line.split()[-1] for line in maps if "libtensorflow" in line or "_pywrap_tensorflow" in line})
    if found:
        mapped[name] = found
print(json.dumps(mapped))
"""


@pytest.mark.parametrize("package", ALLOWED)
def test_importing_maps_no_tensorflow(package: str) -> None:
    """In a fresh process. The worker's modules too: the library reads the environment when it is loaded, not before."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTER, *modules(package)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}
