"""Entry of a worker process: `python -m workers --device cpu:0 --control-fd N`, started by the supervisor only."""

from __future__ import annotations

import argparse
import os

from ringserve import log
from ringserve.channel import Channel
from ringserve.child import become, control_socket
from ringserve.options import ServerOptions
from shm.doorbell import Doorbell


def main() -> None:
    parser = argparse.ArgumentParser("workers")
    parser.add_argument("--device", required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    arguments = parser.parse_args()
    device: str = arguments.device
    become(f"worker {device}")
    channel = Channel(control_socket(arguments.control_fd))
    ((message, fds),) = channel.receive()  # the first message, sent before anything else: "start"
    options = ServerOptions(**message["options"])
    log.set_up(f"worker {device}", options.log_level)
    kind, _, index = device.partition(":")
    os.environ["CUDA_VISIBLE_DEVICES"] = index if kind == "gpu" else ""

    # Only now: TensorFlow's libraries read the environment when they are loaded.
    from workers.tf.engine import TensorFlowEngine  # noqa: PLC0415
    from workers.worker import Worker  # noqa: PLC0415

    Worker(channel, Doorbell(fds[0]), lambda: TensorFlowEngine(options)).run()
    # Not sys.exit: TensorFlow's static destructors can hang or crash on the way out, and nothing of ours is left to do.
    os._exit(0)


if __name__ == "__main__":
    main()
