"""Entry of a front-end process: `python -m frontend rest --index 0 …`, started by the supervisor only."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from typing import Final

import uvloop

from frontend.front_end import FrontEnd
from frontend.request_counters import RequestCounters
from ringserve import log
from ringserve.child import become, parse_child_arguments
from ringserve.heap import keep_freed
from shm.counters import CounterTable
from shm.doorbell import Doorbell

# Of freed memory: what two bodies and their answers of some 12 MB (images) take.
_KEPT_BYTES: Final = 96 << 20
_LARGEST_BLOCK: Final = 32 << 20  # glibc's limit of what does not come from the system by itself


def main() -> None:
    parser = argparse.ArgumentParser("frontend")
    parser.add_argument("protocol", choices=["rest", "grpc", "zmq", "local"])
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--listener-fd", type=int, action="append", default=[], help="inherited; gRPC makes its own")
    arguments = parse_child_arguments(parser, "counters")
    for listener in arguments.listener_fd:
        os.set_inheritable(listener, False)
    title = f"frontend {arguments.protocol} {arguments.index}"
    become(title)
    keep_freed(_KEPT_BYTES, _LARGEST_BLOCK)
    log.set_up(title, arguments.options.log_level)
    if arguments.protocol == "zmq":
        _run_zmq(arguments)
    elif arguments.protocol == "grpc":
        from frontend.grpc.turns import TurnLoop  # noqa: PLC0415

        with asyncio.Runner(loop_factory=TurnLoop) as runner:
            runner.run(_run(arguments))
    else:
        uvloop.run(_run(arguments))


def _run_zmq(arguments: argparse.Namespace) -> None:
    from frontend.zmq.server import run  # noqa: PLC0415 (as below)

    control, doorbell = socket.socket(fileno=arguments.control_fd), Doorbell(arguments.doorbell_fd)
    run(control, doorbell, CounterTable.attach(arguments.counters_fd), arguments.listener_fd, arguments.options)


async def _run(arguments: argparse.Namespace) -> None:
    counters = RequestCounters(CounterTable.attach(arguments.counters_fd))
    front_end = FrontEnd(socket.socket(fileno=arguments.control_fd), Doorbell(arguments.doorbell_fd), counters)
    # Each protocol's libraries take memory and time that the others do without.
    if arguments.protocol == "rest":
        from frontend.rest.server import serve as serve_rest  # noqa: PLC0415

        await serve_rest(front_end, _listener(arguments), arguments.options)
    elif arguments.protocol == "local":
        from frontend.local.server import serve as serve_local  # noqa: PLC0415

        await serve_local(front_end, _listener(arguments), arguments.options)
    else:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its log has a line for every client that does not speak it
        # Its listener on threads of its own hands calls from thread to thread: a fifth to a third of this process's time.
        # Without it, the thread that takes the events also reads and writes the sockets. A name that it no longer knows does
        # nothing.
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
        from frontend.grpc.server import serve as serve_grpc  # noqa: PLC0415

        await serve_grpc(front_end, arguments.index, arguments.options)


def _listener(arguments: argparse.Namespace) -> socket.socket:
    (descriptor,) = arguments.listener_fd
    return socket.socket(fileno=descriptor)


if __name__ == "__main__":
    main()
