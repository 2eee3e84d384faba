"""Loaders of all platforms, as a worker drives them: whatever a plug-in does, the worker gets an error it can send."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from small_version import Array
from tf_runs import array_of, floats, run

from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.options import ServerOptions
from ringserve.servable import Servable, ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from workers.platforms import Platforms
from workers.plugin_version import PluginVersion
from workers.tf.loader import TensorFlowLoader
from workers.tf.session import Session

ONE = ServableId("small", 1)
THIS = __name__


class Doubles:
    signatures: Mapping[str, Signature] = {
        DEFAULT_SIGNATURE: Signature.of({"x": ("float", (-1,))}, {"y": ("float", (-1,))}),
    }

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"y": 2 * inputs["x"]}


class Fails(Loader):
    """Raises what `errors` has for the step."""

    errors: ClassVar[dict[str, BaseException]] = {}
    servable_made: ClassVar[Any] = Doubles()
    steps: ClassVar[list[str]] = []

    def __init__(self, *arguments: Any) -> None:
        self._step("make")
        super().__init__(*arguments)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.errors:
            raise self.errors[name]

    def load(self) -> Servable:
        self._step("load")
        return self.servable_made  # type: ignore[no-any-return]

    def unload(self) -> None:
        self._step("unload")

    def estimate(self) -> int:
        self._step("estimate")
        return 5


@pytest.fixture(scope="module")
def platforms() -> Platforms:
    return Platforms(ServerOptions())


@pytest.fixture(name="steps")
def _steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    steps: list[str] = []
    monkeypatch.setattr(Fails, "steps", steps)
    return steps


def failure(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value.code, caught.value.message


def test_tensorflow_models_are_sessions(platforms: Platforms, models: Path) -> None:
    """Nothing stands between the worker and the session."""
    loaded = platforms.load(ONE, str(models / "half_plus_two" / "1"), "tensorflow", {})
    assert isinstance(loaded.version, Session)
    assert array_of(run(loaded.version, floats(10.0))[0]).tolist() == [7.0]
    loaded.unload()
    assert loaded.version.pointer is None
    loaded.unload()


def test_tensorflow_has_no_options(platforms: Platforms, models: Path) -> None:
    path = str(models / "half_plus_two" / "1")
    code, text = failure(lambda: platforms.load(ONE, path, "tensorflow", {"b": "1", "a": "2"}))
    assert (code, text) == (Code.INVALID_ARGUMENT, "loader_options: the platform tensorflow has none, got a, b")


def test_tensorflows_estimate_is_upstreams(platforms: Platforms, tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 1000)
    (tmp_path / "variables" / "data").write_bytes(b"x" * 500)
    assert platforms.estimate(ONE, str(tmp_path), "tensorflow", {}) == 1800
    gone = str(tmp_path / "gone")
    assert failure(lambda: platforms.estimate(ONE, gone, "tensorflow", {})) == (
        Code.NOT_FOUND,
        f"{gone}; No such file or directory",
    )


def test_a_bad_session_configuration_is_told_at_once(tmp_path: Path) -> None:
    code, _ = failure(lambda: Platforms(ServerOptions(tensorflow_session_config_file=str(tmp_path / "gone"))))
    assert code == Code.NOT_FOUND


def test_a_plug_in_is_loaded_run_and_unloaded(platforms: Platforms, steps: list[str]) -> None:
    loaded = platforms.load(ONE, "path", f"{THIS}:Fails", {})
    assert isinstance(loaded.version, PluginVersion)
    assert array_of(run(loaded.version, floats(1.0, 2.0))[0]).tolist() == [2.0, 4.0]
    loaded.unload()
    assert steps == ["make", "load", "unload"]
    assert platforms.estimate(ONE, "path", f"{THIS}:Fails", {}) == 5


class Told(Loader):
    def load(self) -> Servable:
        raise ServingError(Code.ABORTED, f"{self.servable} {self.path} {self.options} {self.server.port}")


def test_a_loader_knows_what_it_is_for() -> None:
    platforms = Platforms(ServerOptions(port=1234))
    code, text = failure(lambda: platforms.load(ONE, "path", f"{THIS}:Told", {"a": "b"}))
    assert (code, text) == (Code.ABORTED, "{name: small version: 1} path {'a': 'b'} 1234")


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit("bad"), KeyboardInterrupt("bad")])
@pytest.mark.parametrize("step", ["make", "load", "unload", "estimate"])
def test_whatever_a_loader_raises(
    platforms: Platforms, steps: list[str], monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    monkeypatch.setattr(Fails, "errors", {step: error})

    def go() -> None:
        if step == "estimate":
            platforms.estimate(ONE, "path", f"{THIS}:Fails", {})
        else:
            platforms.load(ONE, "path", f"{THIS}:Fails", {}).unload()

    assert failure(go) == (Code.INTERNAL, f"{type(error).__name__}: bad")
    assert steps[-1] == step, "nothing after it"


@pytest.mark.parametrize("unload", [None, ValueError("and stuck")])
def test_what_cant_be_served_is_unloaded(
    platforms: Platforms, steps: list[str], monkeypatch: pytest.MonkeyPatch, unload: BaseException | None
) -> None:
    monkeypatch.setattr(Fails, "servable_made", None)
    monkeypatch.setattr(Fails, "errors", {"unload": unload} if unload else {})
    code, text = failure(lambda: platforms.load(ONE, "path", f"{THIS}:Fails", {}))
    assert (code, text) == (Code.INTERNAL, "NoneType is no servable: it has no method run")
    assert steps == ["make", "load", "unload"]


@pytest.mark.parametrize("estimate", [-1, 1 << 63, 1.5, None, "5"])
def test_estimates_that_are_none(platforms: Platforms, monkeypatch: pytest.MonkeyPatch, estimate: Any) -> None:
    monkeypatch.setattr(Fails, "estimate", lambda _: estimate)
    code, _ = failure(lambda: platforms.estimate(ONE, "path", f"{THIS}:Fails", {}))
    assert code == Code.INTERNAL


def test_a_platform_that_there_is_not(platforms: Platforms) -> None:
    code, text = failure(lambda: platforms.load(ONE, "path", "nobody", {}))
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith('platform "nobody" is not known')


class Wrapped(TensorFlowLoader):
    """A plug-in that builds on a built-in loader."""

    def load(self) -> Any:
        inner = super().load()

        class Outer:
            signatures = inner.signatures

            def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
                return {alias: -array for alias, array in inner.run(signature, inputs).items()}

        return Outer()


def test_a_plug_in_around_tensorflow(platforms: Platforms, models: Path) -> None:
    assert sys.modules[THIS].Wrapped is Wrapped
    loaded = platforms.load(ONE, str(models / "half_plus_two_2d" / "1"), f"{THIS}:Wrapped", {})
    (x,) = loaded.version.signatures[DEFAULT_SIGNATURE].inputs
    assert x.shape == (-1, 1)
    (y,) = run(loaded.version, floats(10.0, 20.0)._replace(shape=(2, 1)))
    assert array_of(y).tolist() == [[-7.0], [-12.0]]
    loaded.unload()
