"""The floors for gRPC: grpcio's two servers, answering methods of PredictionService with fixed bytes, on one port."""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from bench.grpc_target import ANY_SIZE, SERVICE

_THREADS: Final = 4
KINDS: Final = ("aio", "threads")


def _awaited(answer: bytes) -> Any:
    async def handler(_: bytes, __: Any) -> bytes:
        return answer

    return grpc.unary_unary_rpc_method_handler(handler)


def _called(answer: bytes) -> Any:
    return grpc.unary_unary_rpc_method_handler(lambda _, __: answer)


async def _serve_aio(address: str, answers: Mapping[str, bytes]) -> None:
    server = grpc.aio.server(options=ANY_SIZE)
    handlers = {method: _awaited(answer) for method, answer in answers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    await server.start()
    gc.freeze()
    await server.wait_for_termination()


def _serve_threads(address: str, answers: Mapping[str, bytes]) -> None:
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=ANY_SIZE)
    handlers = {method: _called(answer) for method, answer in answers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    server.start()
    gc.freeze()
    server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answers", type=Path, required=True, help="folder with a file of the name of each method")
    arguments = parser.parse_args()
    answers = {file.name: file.read_bytes() for file in arguments.answers.iterdir()}
    address = f"127.0.0.1:{arguments.port}"
    if arguments.kind == "aio":
        asyncio.run(_serve_aio(address, answers))
    else:
        _serve_threads(address, answers)


if __name__ == "__main__":
    main()
