"""The files with CURVE keys: as ZeroMQ writes them, as people write them, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq
import zmq.auth
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from ringserve.curve_files import read_allowed_keys, read_secret_key
from ringserve.errors import Code, ServingError

KEY = b"ArW+>Xp({bV}R?qeiLQi}RIck:HO8:EuQTDNVcBI"
OTHER = b"dCWM#Hk:{wK(KF!9ZyIysiFaD=KJ1dQY/YY-r=J4"


def written(folder: Path, data: bytes) -> str:
    file = folder / "keys"
    file.write_bytes(data)
    return str(file)


def test_a_certificate_of_zeromqs(tmp_path: Path) -> None:
    public, secret = zmq.auth.create_certificates(tmp_path, "server")
    _, secret_key = zmq.auth.load_certificate(secret)
    assert read_secret_key(str(secret)) == secret_key
    with pytest.raises(ServingError):
        read_secret_key(str(public))


@pytest.mark.parametrize("text", [b"%s", b"%s\n", b"  %s  \r\n", b"# the server's\n\n%s\n"])
def test_a_key_alone(tmp_path: Path, text: bytes) -> None:
    assert read_secret_key(written(tmp_path, text % KEY)) == KEY


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_a_key(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    key = z85.encode(data)
    path = written(tmp_path_factory.mktemp("keys"), key + b"\n")
    assert read_secret_key(path) == key
    assert read_allowed_keys(path) == {key}


@pytest.mark.parametrize(
    "data",
    [b"", b"# nothing\n", KEY[:-1], KEY + b"x", KEY + b"\n" + KEY, b'secret-key = "short"', b"%%%%%" * 8, b"\xff" * 40],
)
def test_what_is_no_secret_key(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        read_secret_key(written(tmp_path, data))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert KEY.decode() not in caught.value.message
    assert KEY[:-1].decode() not in caught.value.message


def test_several_allowed_keys(tmp_path: Path) -> None:
    data = b"# alice\n" + KEY + b"\n\n  # bob\n " + OTHER + b" \n"
    assert read_allowed_keys(written(tmp_path, data)) == {KEY, OTHER}


@pytest.mark.parametrize("data", [b"", b"# nobody\n", KEY + b"\nx\n", b"%%%%%" * 8])
def test_what_are_no_allowed_keys(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        read_allowed_keys(written(tmp_path, data))
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("read", [read_secret_key, read_allowed_keys])
def test_files_that_cannot_be_read(tmp_path: Path, read: object) -> None:
    assert callable(read)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ServingError) as caught:
            read(str(path))
        assert caught.value.code is Code.NOT_FOUND
    big = written(tmp_path, b"#" * ((1 << 20) + 1))
    with pytest.raises(ServingError) as caught:
        read(big)
    assert caught.value.code is Code.INVALID_ARGUMENT
