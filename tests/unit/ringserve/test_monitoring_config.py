"""--monitoring_config_file: what it says, and what is refused with which text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve import text_proto
from ringserve.errors import Code, ServingError
from ringserve.monitoring_config import _MonitoringConfig, prometheus_path
from ringserve.options import ServerOptions


def path_of(tmp_path: Path, text: bytes, rest_api_port: int = 8501) -> str | None:
    file = tmp_path / "monitoring.config"
    file.write_bytes(text)
    return prometheus_path(ServerOptions(monitoring_config_file=str(file), rest_api_port=rest_api_port))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }', "/monitoring/prometheus/metrics"),
        (b'prometheus_config: {\n  enable: true,\n  path: "/custom"\n}\n', "/custom"),  # as in upstream's guide
        (b"prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        (b'prometheus_config { enable: true path: "" }', "/monitoring/prometheus/metrics"),
        (b'prometheus_config { enable: false path: "/custom" }', None),
        (b'prometheus_config { path: "/custom" }', None),
        (b"prometheus_config {}", None),
        (b"# nothing\n", None),
    ],
)
def test_the_path(tmp_path: Path, text: bytes, path: str | None) -> None:
    assert path_of(tmp_path, text) == path


def test_without_the_flag_there_is_none() -> None:
    assert prometheus_path(ServerOptions(rest_api_port=8501)) is None


def test_without_a_rest_port_the_file_is_not_looked_at(tmp_path: Path) -> None:
    assert path_of(tmp_path, b"no config", rest_api_port=0) is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"this is not a config", "1:1 "),
        (b"prometheus_config {\n  enabled: true\n}", "2:3 "),
        (b"prometheus_config { enable: true", "1:29 "),
        (b"prometheus_config { enable: 7 }", "1:29 "),
    ],
)
def test_a_text_that_cannot_be_parsed_says_where(tmp_path: Path, text: bytes, place: str) -> None:
    with pytest.raises(ServingError) as caught:
        path_of(tmp_path, text)
    start = f"Invalid protobuf file: '{tmp_path}/monitoring.config': "
    start += "Error parsing text-format tensorflow.serving.MonitoringConfig: "
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(start + place)


def test_a_file_of_no_bytes(tmp_path: Path) -> None:
    with pytest.raises(ServingError) as caught:
        path_of(tmp_path, b"")
    assert str(caught.value) == f"INVALID_ARGUMENT: {tmp_path}/monitoring.config; Invalid argument"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServingError) as caught:
        prometheus_path(ServerOptions(monitoring_config_file=f"{tmp_path}/none", rest_api_port=1))
    assert str(caught.value) == f"NOT_FOUND: {tmp_path}/none; No such file or directory"


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ServingError) as caught:
        text_proto.read(str(tmp_path))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, f"{tmp_path} is not a plain file")


def test_the_message_is_upstreams_on_the_wire_too() -> None:
    message = _MonitoringConfig()()
    message.prometheus_config.enable = True
    message.prometheus_config.path = "/x"
    assert message.SerializeToString() == b"\x0a\x06\x08\x01\x12\x02/x"


@given(st.one_of(st.binary(max_size=60), st.text(alphabet="prometheus_config{}:\"'<>[]# 01-./\\\n", max_size=60)))
def test_any_file_at_all_is_a_config_or_an_error(data: bytes | str) -> None:
    try:
        text_proto.parse("x", data if isinstance(data, bytes) else data.encode(), _MonitoringConfig()())
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
