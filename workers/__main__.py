"""Entry of a worker process: `python -m workers --device cpu:0 …`, started by the supervisor only."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Final

from ringserve import log
from ringserve.channel import Channel
from ringserve.child import become, parse_child_arguments
from ringserve.heap import keep_together
from ringserve.options import ServerOptions
from shm.counters import CounterTable
from shm.doorbell import Doorbell

_SWITCH_SECONDS: Final = 1e-4  # Python's own 5 ms are longer than most requests take


def main() -> None:
    parser = argparse.ArgumentParser("workers")
    parser.add_argument("--device", required=True)
    arguments = parse_child_arguments(parser, "counters")
    device: str = arguments.device
    become(f"worker {device}")
    options: ServerOptions = arguments.options
    log.set_up(f"worker {device}", options.log_level)
    # The loop's thread may have to wait so long for the interpreter lock while another thread loads a version.
    sys.setswitchinterval(_SWITCH_SECONDS)
    keep_together()
    kind, _, index = device.partition(":")
    os.environ["CUDA_VISIBLE_DEVICES"] = index if kind == "gpu" else ""

    # Only now: TensorFlow's libraries read the environment when they are loaded.
    from workers.platforms import Platforms  # noqa: PLC0415
    from workers.worker import Worker  # noqa: PLC0415

    channel = Channel(socket.socket(fileno=arguments.control_fd))
    counters = CounterTable.attach(arguments.counters_fd)
    doorbell = Doorbell(arguments.doorbell_fd)
    Worker(channel, doorbell, options, lambda: Platforms(options), device=device, counters=counters).run()
    # Not sys.exit: TensorFlow's static destructors can hang or crash on the way out, and nothing of ours is left to do.
    os._exit(0)


if __name__ == "__main__":
    main()
