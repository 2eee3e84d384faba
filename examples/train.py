"""Trains the example models and writes them, their server configuration and requests for them.

``python -m examples.train --output DIR`` leaves alone what is there already; ``--force`` makes it again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from examples.requests import REQUESTS_FILE, write_requests

CONFIG_FILE = "models.config"
MODELS = ("half_plus_two", "iris", "mnist")
VERSION = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.train",
        description="Train the example models and export them as SavedModels.",
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--force", action="store_true", help="train again what is there already")
    options = parser.parse_args(arguments)
    output: Path = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    wanted = [name for name in MODELS if options.force or not (output / name / VERSION).exists()]
    for name in MODELS:
        if name not in wanted:
            print(f"{name}: already in {output / name / VERSION}")
    requests_file = output / REQUESTS_FILE
    if wanted or not requests_file.exists():
        _train(output, wanted)
        print(f"requests: {requests_file}")
    config_file = output / CONFIG_FILE
    config_file.write_text(server_config(output), encoding="utf-8")
    print(f"server configuration: {config_file}")
    print(f"done in {time.perf_counter() - started:.1f} s")
    return 0


def _train(output: Path, wanted: Sequence[str]) -> None:
    models = _model_modules()
    # Only after the above, which imports TensorFlow.
    from examples.saved_model import export  # noqa: PLC0415

    for name in wanted:
        started = time.perf_counter()
        folder = output / name / VERSION
        trained = models[name].train()
        export(trained, folder)
        print(f"{name}: {trained.summary}; {folder} in {time.perf_counter() - started:.1f} s", flush=True)
    requests = [request for name in MODELS for request in models[name].sample_requests()]
    write_requests(output / REQUESTS_FILE, requests)


def _model_modules() -> dict[str, ModuleType]:
    # TensorFlow and scikit-learn take seconds to import: a run with nothing to train does without.
    from examples import digits, half_plus_two, iris  # noqa: PLC0415

    return {"half_plus_two": half_plus_two, "iris": iris, "mnist": digits}


def server_config(output: Path) -> str:
    """The text of a ModelServerConfig that serves every example model."""
    lines = ["model_config_list {"]
    for name in MODELS:
        # JSON's escapes are valid in a text proto string too.
        base_path = json.dumps(str(output / name), ensure_ascii=False)
        lines += [
            "  config {",
            f'    name: "{name}"',
            f"    base_path: {base_path}",
            '    model_platform: "tensorflow"',
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    sys.exit(main())
