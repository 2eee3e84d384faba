"""Fixtures of the end-to-end tests: servers, and the models that they serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer

DATA = Path(__file__).parents[1] / "data"

#: Name on the server: folder of the real SavedModels.
REAL_MODELS = {
    "default": "saved_model_half_plus_two_cpu",
    "half_plus_three": "saved_model_half_plus_three",
    "two_versions": "saved_model_half_plus_two_2_versions",
    "half_plus_two_tf2": "saved_model_half_plus_two_tf2_cpu",
}
#: Those of tests/models that neither take seconds to load nor take their worker down.
TEST_MODELS = (
    "half_plus_two",
    "half_plus_two_2d",
    "identity",
    "two_inputs",
    "dynamic_image",
    "text",
    "echo_big",
    "scalar",
    "no_inputs",
    "fixed_batch",
    "batch_dependent",
    "not_batch_major",
    "data_dependent",
    "stateful_counter",
    "fails_on_negative",
    "examples",
    "unwritable",
    "two_texts",
    "named_b64",
)


class Serve(Protocol):
    def __call__(self, *flags: str, environment: Mapping[str, str] | None = None) -> RunningServer: ...


def write_config(path: Path, models: Mapping[str, Path], fields: str = "") -> str:
    """A model config file with these models, as the flag that names it. `fields` go into every model."""
    return ModelConfigFile(path).write(*(entry(name, folder, fields) for name, folder in models.items()))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers with the flags given, which end when the test does."""
    with ExitStack() as stack:

        def start(*flags: str, environment: Mapping[str, str] | None = None) -> RunningServer:
            return stack.enter_context(RunningServer(*flags, environment=environment))

        yield start


@pytest.fixture(scope="session")
def catalogue(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server of many models, for tests that leave it as they found it."""
    served = {name: models / name for name in TEST_MODELS} | {name: DATA / folder for name, folder in REAL_MODELS.items()}
    config = tmp_path_factory.mktemp("config") / "models.config"
    flag = write_config(config, served, "model_version_policy { all {} }")
    with RunningServer(flag) as server:
        yield server
