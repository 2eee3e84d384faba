"""--ssl_config_file: what it says, and what is refused with which text. tests/data/tls/made.sh made the keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringserve.errors import Code, ServingError
from ringserve.ssl_config import SslConfig, _SSLConfig, read_ssl_config

KEYS = Path(__file__).parents[2] / "data" / "tls"


def pem(name: str) -> str:
    return (KEYS / name).read_text()


def quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "ssl.config"
    file.write_text(text)
    return str(file)


def config(key: str, certificate: str, more: str = "") -> str:
    return f"server_key: {quoted(key)}\nserver_cert: {quoted(certificate)}\n{more}\n"


def refused(path: str) -> str:
    with pytest.raises(ServingError) as caught:
        read_ssl_config(path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.__cause__ is None  # a traceback in a log shows no key
    return caught.value.message.replace(path, "FILE")


@pytest.mark.parametrize("name", ["server", "rsa"])
def test_key_and_certificate(tmp_path: Path, name: str) -> None:
    key, certificate = pem(f"{name}.key"), pem(f"{name}.crt")
    path = written(tmp_path, config(key, certificate))
    assert read_ssl_config(path) == SslConfig(key.encode(), certificate.encode(), None, False)


def test_the_key_is_not_shown() -> None:
    found = SslConfig(b"secret", b"certificate", b"roots", True)
    for shown in (repr(found), str(found), f"{found}", f"{[found]}"):
        assert shown.strip("[]") == "SslConfig(certificate=b'certificate', client_roots=b'roots', verify_clients=True)"


def test_client_certificates(tmp_path: Path) -> None:
    roots = pem("client.crt") + pem("rsa.crt")
    more = f"custom_ca: {quoted(roots)} client_verify: true"
    found = read_ssl_config(written(tmp_path, config(pem("server.key"), pem("server.crt"), more)))
    assert (found.client_roots, found.verify_clients) == (roots.encode(), True)


def test_a_chain_with_remarks_is_a_certificate(tmp_path: Path) -> None:
    chain = "Zertifikat für localhost:\n" + pem("server.crt") + "\nits issuer:\n" + pem("rsa.crt")
    assert read_ssl_config(written(tmp_path, config(pem("server.key"), chain))).certificate == chain.encode()


def test_a_string_in_several_pieces_as_text_protos_may_have_it(tmp_path: Path) -> None:
    pieces = "\n".join(quoted(line + "\n") for line in pem("server.key").splitlines())
    path = written(tmp_path, f"server_key: {pieces}\nserver_cert: {quoted(pem('server.crt'))}")
    assert read_ssl_config(path).key == pem("server.key").encode()


@pytest.mark.parametrize(
    ("key", "certificate", "more", "text"),
    [
        ("", "server.crt", "", "server_key is empty; it is to hold PEM text, not a path"),
        ("server.key", "", "", "server_cert is empty; it is to hold PEM text, not a path"),
        ("client.key", "server.crt", "", "server_key is not the key of server_cert"),
        ("rsa.key", "server.crt", "", "server_key is not the key of server_cert"),
        ("server.crt", "server.crt", "", "server_key is not a private key in PEM"),
        ("server.key", "server.key", "", "server_cert is not a certificate in PEM"),
        ("encrypted.key", "server.crt", "", "server_key is encrypted; it is to be there without a password"),
        ("server.key", "server.crt", 'custom_ca: "/etc/ca.pem"', "custom_ca is not a certificate in PEM"),
        (
            "server.key",
            "server.crt",
            "client_verify: true",
            "client_verify needs custom_ca: without it no client's certificate could be accepted",
        ),
    ],
)
def test_what_does_not_fit(tmp_path: Path, key: str, certificate: str, more: str, text: str) -> None:
    words = config(key and pem(key), certificate and pem(certificate), more)
    assert refused(written(tmp_path, words)) == f"FILE: {text}"


@pytest.mark.parametrize("part", ["server_key", "server_cert"])
def test_a_path_or_a_cut_pem_is_refused(tmp_path: Path, part: str) -> None:
    for bad in ("/etc/server.pem", pem("server.key")[:100], pem("server.crt")[:300], " ", "\x01"):
        key, certificate = (bad, pem("server.crt")) if part == "server_key" else (pem("server.key"), bad)
        assert refused(written(tmp_path, config(key, certificate))).startswith(f"FILE: {part} is not a ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server_key: SECRET", " at 1:13"),
        ('server_cert: "x"\nserver_key: "SECRET', " at 2:13"),
        ('SECRET: "x"', " at 1:1"),
        ("client_verify: SECRET", " at 1:16"),
    ],
)
def test_a_text_that_cannot_be_parsed_says_where_but_not_what(tmp_path: Path, text: str, place: str) -> None:
    found = refused(written(tmp_path, text))
    what = f"Error parsing text-format tensorflow.serving.SSLConfig{place} (not shown: it may be part of a key)"
    assert found == f"Invalid protobuf file: 'FILE': {what}"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "ssl.config"
    file.write_bytes(b'server_key: "\xff"')
    assert refused(str(file)).startswith("Invalid protobuf file: 'FILE': Error parsing text-format")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServingError) as caught:
        read_ssl_config(f"{tmp_path}/none")
    assert str(caught.value) == f"NOT_FOUND: {tmp_path}/none; No such file or directory"


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(f"{tmp_path}/pipe") == "FILE is not a plain file"


def test_nothing_stays_open(tmp_path: Path) -> None:
    path = written(tmp_path, config(pem("server.key"), pem("server.crt")))
    read_ssl_config(path)
    before = os.listdir("/proc/self/fd")
    read_ssl_config(path)
    refused(written(tmp_path, config("no key", pem("server.crt"))))
    assert os.listdir("/proc/self/fd") == before


def test_the_message_is_upstreams_on_the_wire_too() -> None:
    message = _SSLConfig()(server_key="k", server_cert="c", custom_ca="a", client_verify=True)
    assert message.SerializeToString() == b"\x0a\x01k\x12\x01c\x1a\x01a\x20\x01"
