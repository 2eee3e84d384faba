"""What every child process of the supervisor does first: its title, its signals, its end when the supervisor ends."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal

import setproctitle

from ringserve.options import ServerOptions

_PR_SET_PDEATHSIG = 1


def become(title: str) -> None:
    """Be called `ringserve: <title>`, leave signals to the supervisor, and never outlive it.

    A Ctrl-C or a service manager's SIGTERM reaches the whole group at once; a child that went on its own would drop
    requests that the supervisor still wants answered. The control channel's end tells a child that the supervisor is
    gone; the kernel's death signal is for a child too busy to read it.
    """
    setproctitle.setproctitle(f"ringserve: {title}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def parse_child_arguments(parser: argparse.ArgumentParser, *descriptors: str) -> argparse.Namespace:
    """The command line that the supervisor wrote: `options`, and the inherited file descriptors by name."""
    parser.add_argument("--options", type=_options, required=True)
    names = ("control", "doorbell", *descriptors)
    for name in names:
        parser.add_argument(f"--{name}-fd", type=int, required=True)
    arguments = parser.parse_args()
    for name in names:
        os.set_inheritable(getattr(arguments, f"{name}_fd"), False)
    return arguments


def _options(text: str) -> ServerOptions:
    return ServerOptions(**json.loads(text))
