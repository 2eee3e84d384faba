"""Entry of a front-end process: `python -m frontend rest --index 0 …`, started by the supervisor only."""

from __future__ import annotations

import argparse
import socket
from typing import Final

import uvloop

from frontend.front_end import FrontEnd
from frontend.request_counters import RequestCounters
from frontend.rest.server import serve
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
    parser.add_argument("protocol", choices=["rest"])
    parser.add_argument("--index", type=int, required=True)
    arguments = parse_child_arguments(parser, "counters", "listener")
    title = f"frontend {arguments.protocol} {arguments.index}"
    become(title)
    keep_freed(_KEPT_BYTES, _LARGEST_BLOCK)
    log.set_up(title, arguments.options.log_level)
    uvloop.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    counters = RequestCounters(CounterTable.attach(arguments.counters_fd))
    front_end = FrontEnd(socket.socket(fileno=arguments.control_fd), Doorbell(arguments.doorbell_fd), counters)
    await serve(front_end, socket.socket(fileno=arguments.listener_fd), arguments.options)


if __name__ == "__main__":
    main()
