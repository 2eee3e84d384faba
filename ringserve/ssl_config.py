"""The file of --ssl_config_file: a text `tensorflow.serving.SSLConfig` with the server's key and certificate."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple, NoReturn

from ringserve import text_proto
from ringserve.errors import Code, ServingError

_NAME: Final = "tensorflow.serving.SSLConfig"


class SslConfig(NamedTuple):
    """What a gRPC server needs for TLS, in PEM. Goes to front ends by the control channel, never by a command line."""

    key: bytes
    certificate: bytes  # and those between it and a root, if there are any
    client_roots: bytes | None  # who may have signed client certificates
    verify_clients: bool  # a client must show a certificate

    def __repr__(self) -> str:
        """Without the key: a log or a traceback is no place for it."""
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name != "key")
        return f"SslConfig({', '.join(shown)})"


def read_ssl_config(path: str) -> SslConfig:
    """Read and checked: key and certificate are there and belong together.

    Raises ServingError, NOT_FOUND for the file or INVALID_ARGUMENT. No text of the file is in the error: it may be the key.
    """
    message = _parse(path)
    config = SslConfig(
        message.server_key.encode(),
        message.server_cert.encode(),
        message.custom_ca.encode() or None,
        message.client_verify,
    )
    _check(path, config)
    return config


def _parse(path: str) -> Any:
    try:
        return text_proto.parse(path, text_proto.read(path), _SSLConfig()())
    except ServingError as error:
        cause: Any = error.__cause__
        if cause is None or isinstance(cause, OSError):
            raise  # about the file, not about what is in it
        line = cause.GetLine() if hasattr(cause, "GetLine") else None
        place = f" at {line}:{cause.GetColumn()}" if line else ""
    what = f"Error parsing text-format {_NAME}{place} (not shown: it may be part of a key)"
    raise ServingError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}': {what}")


def _check(path: str, config: SslConfig) -> None:
    for name, value in (("server_key", config.key), ("server_cert", config.certificate)):
        if not value:
            _refuse(path, f"{name} is empty; it is to hold PEM text, not a path")
    if config.verify_clients and not config.client_roots:
        _refuse(path, "client_verify needs custom_ca: without it no client's certificate could be accepted")
    _check_certificates(path, "server_cert", config.certificate)
    if config.client_roots:
        _check_certificates(path, "custom_ca", config.client_roots)
    _check_pair(path, config)


def _check_certificates(path: str, name: str, certificates: bytes) -> None:
    with _file(certificates) as file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=file)
        except ssl.SSLError:
            _refuse(path, f"{name} is not a certificate in PEM")


def _check_pair(path: str, config: SslConfig) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # how strong a key must be is for gRPC and its clients to say
    asked: list[bool] = []

    def password() -> bytes:  # without it OpenSSL would ask on the terminal
        asked.append(True)
        return b""

    with _file(config.certificate) as certificate, _file(config.key) as key:
        try:
            context.load_cert_chain(certificate, key, password)
        except (ssl.SSLError, ValueError) as error:
            if asked:
                _refuse(path, "server_key is encrypted; it is to be there without a password")
            reason = getattr(error, "reason", None) or ""
            if "MISMATCH" in reason or reason == "NO_CERTIFICATE_ASSIGNED":
                _refuse(path, "server_key is not the key of server_cert")
            _refuse(path, "server_key is not a private key in PEM")


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """The path of a file in memory: `ssl` reads keys from files only, and a key is not to touch a disk."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


def _refuse(path: str, text: str) -> NoReturn:
    raise ServingError(Code.INVALID_ARGUMENT, f"{path}: {text}") from None


@cache
def _SSLConfig() -> Any:
    """The message's class, which tensorflow-serving-api lacks. In a pool of its own: another definition may be loaded."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - as in text_proto

    package, name = _NAME.rsplit(".", 1)
    path = "tensorflow_serving/config/ssl_config.proto"
    file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
    config = file.message_type.add(name=name)
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, field in enumerate(("server_key", "server_cert", "custom_ca"), 1):
        config.field.add(name=field, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    config.field.add(name="client_verify", number=4, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(_NAME))
