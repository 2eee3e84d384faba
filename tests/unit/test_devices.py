"""Device names: the grammar of --devices, and which GPUs the environment leaves visible."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.devices import MAX_CPU_WORKERS, detect_gpus, parse_devices
from ringserve.errors import Code, ServingError


@pytest.mark.parametrize(
    ("text", "gpus", "names"),
    [
        ("cpu:1", [], ["cpu:0"]),
        ("cpu:2", [0], ["cpu:0", "cpu:1"]),
        ("gpu:0", [], ["gpu:0"]),
        ("gpu:0,1", [], ["gpu:0", "gpu:1"]),
        ("gpu:3,1", [], ["gpu:3", "gpu:1"]),
        ("auto", [], ["cpu:0"]),
        ("auto", [0, 1], ["gpu:0", "gpu:1"]),
        ("auto", [2], ["gpu:2"]),
    ],
)
def test_names(text: str, gpus: list[int], names: list[str]) -> None:
    assert parse_devices(text, lambda: gpus) == names


@pytest.mark.parametrize(
    "text",
    [
        *("", "cpu", "cpu:", "cpu:0", "cpu:-1", "cpu:1,2", "cpu:1025", "cpu:\u0663", "cpu:1\n"),
        *("gpu", "gpu:", "gpu:a", "gpu:0,", "gpu:0,0", "gpu:0, 1", "gpu:99999"),
        *("tpu:0", "auto:1", "AUTO"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ServingError) as caught:
        parse_devices(text, lambda: [0])
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(f"Couldn't interpret devices {text!r}: ")


def test_only_auto_looks_for_gpus() -> None:
    def never() -> list[int]:
        raise AssertionError("looked for GPUs")

    assert parse_devices("cpu:1", never) == ["cpu:0"]
    assert parse_devices("gpu:0", never) == ["gpu:0"]


@given(st.integers(1, MAX_CPU_WORKERS))
def test_one_name_a_cpu_worker(count: int) -> None:
    assert parse_devices(f"cpu:{count}") == [f"cpu:{index}" for index in range(count)]


@given(st.lists(st.integers(0, 9999), min_size=1, unique=True))
def test_gpus_keep_their_order(indices: list[int]) -> None:
    assert parse_devices("gpu:" + ",".join(map(str, indices))) == [f"gpu:{index}" for index in indices]


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """The driver's folder on a machine with three GPUs."""
    gpus = tmp_path / "gpus"
    for index, bus in enumerate(["0000:07:00.0", "0000:0a:00.0", "0000:47:00.0"]):
        (gpus / bus).mkdir(parents=True)
        text = f"Model: \t\t A Card\nGPU UUID: \t GPU-{index}{index}aa-bb\nDevice Minor: \t {index}\n"
        (gpus / bus / "information").write_text(text)
    return gpus


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 2 , 0 ", [2, 0]),
        ("0,-1,2", [0]),
        ("0,7,2", [0]),
        ("1,1", [1]),
        ("GPU-22aa-bb,GPU-00", [2, 0]),
    ],
)
def test_cuda_visible_devices(driver: Path, visible: str | None, expected: list[int]) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert detect_gpus(environ, str(driver)) == expected


@pytest.mark.parametrize("entry", ["GPU-", "GPU-99", "MIG-00aa"])
def test_an_identifier_without_an_index_is_an_error(driver: Path, entry: str) -> None:
    with pytest.raises(ServingError, match="INVALID_ARGUMENT: CUDA_VISIBLE_DEVICES entry"):
        detect_gpus({"CUDA_VISIBLE_DEVICES": entry}, str(driver))


def test_device_nodes_count_where_the_driver_shows_nothing(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert detect_gpus({}, str(tmp_path / "no-driver"), str(tmp_path)) == [0, 1]


def test_a_machine_without_gpus(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert detect_gpus({}, missing, missing) == []
    assert detect_gpus({"CUDA_VISIBLE_DEVICES": "0"}, missing, missing) == []
