"""Reading TFRecords: what is written is read, and no damage is taken for a record."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prediction_logs import crc32c, framed, head

from ringserve.errors import Code, ServingError
from workers.tf_record import read_records

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = framed(b"hello")  # 21 bytes


def read(tmp_path: Path, content: bytes) -> list[bytes]:
    path = tmp_path / "records"
    path.write_bytes(content)
    return list(read_records(str(path)))


@SAME_FOLDER
@given(records=st.lists(st.binary(max_size=100), max_size=5))
def test_what_is_written_is_read(tmp_path: Path, records: list[bytes]) -> None:
    assert read(tmp_path, framed(*records)) == records


def test_the_checksum_is_the_one_of_the_standard_and_is_computed_in_c() -> None:
    assert google_crc32c.value(b"123456789") == crc32c(b"123456789") == 0xE3069283
    assert google_crc32c.implementation == "c"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"x" * 12, "corrupted record at 0 (Is this even a TFRecord file?)"),
        (b"not records at all", "corrupted record at 0 (Is this even a TFRecord file?)"),
        (GOOD + head(5), "truncated record at 21' failed with Read less bytes than requested"),
        (GOOD + GOOD[:14], "truncated record at 21' failed with Read less bytes than requested"),
        (GOOD + GOOD[:-1], "truncated record at 21' failed with Read less bytes than requested"),
        (GOOD + GOOD[:-1] + b"\0", "corrupted record at 33"),
        (GOOD + GOOD[:8] + b"abcd" + GOOD[12:], "corrupted record at 21"),
        (GOOD + head(1 << 40) + b"x" * 100, "truncated record at 21' failed with Read less bytes than requested"),
        (GOOD + head((1 << 64) - 1) + b"x" * 100, "truncated record at 21' failed with Read less bytes than requested"),
        (head((1 << 64) - 4) + b"x" * 100, "truncated record at 0' failed with Read less bytes than requested"),
    ],
)
def test_damage_is_data_loss_with_tensorflows_text(tmp_path: Path, content: bytes, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        read(tmp_path, content)
    assert (caught.value.code, caught.value.message) == (Code.DATA_LOSS, text)


@pytest.mark.parametrize("rest", [0, 1, 8, 11])
def test_a_rest_too_short_for_a_head_is_the_end(tmp_path: Path, rest: int, caplog: pytest.LogCaptureFixture) -> None:
    assert read(tmp_path, GOOD + GOOD[:rest]) == [b"hello"]
    assert ("are ignored" in caplog.text) == bool(rest)


@SAME_FOLDER
@given(at=st.integers(0, 41), bit=st.integers(0, 7))
def test_a_flipped_bit_never_passes(tmp_path: Path, at: int, bit: int) -> None:
    damaged = bytearray(GOOD * 2)
    damaged[at] ^= 1 << bit
    with pytest.raises(ServingError) as caught:
        read(tmp_path, bytes(damaged))
    assert caught.value.code is Code.DATA_LOSS


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_nothing])
def test_what_is_no_file_is_an_error_and_no_wait(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "records"
    make(path)
    with pytest.raises(ServingError, match="records"):
        next(read_records(str(path)))
