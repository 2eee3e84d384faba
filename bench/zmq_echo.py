"""The floor for ZeroMQ: a ROUTER that gives back every message, as fast as pyzmq goes.

A program; it says when it is there. What comes is taken in bursts, without a wait, and before anything is sent.
"""

from __future__ import annotations

import argparse
import gc

import zmq

from ringserve.child import become

_BURST = 256


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    arguments = parser.parse_args()
    become("bench zmq echo")
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.set_hwm(0)
    socket.bind(arguments.endpoint)
    gc.freeze()
    print("ready", flush=True)
    while True:
        _turn(socket)


def _turn(socket: zmq.Socket[bytes]) -> None:
    """Wait for a message, take what is there with it, give it back."""
    receive, send = socket.recv, socket.send
    taken = [(receive(), receive())]  # who, and what
    try:
        for _ in range(_BURST):
            taken.append((receive(zmq.NOBLOCK), receive(zmq.NOBLOCK)))
    except zmq.Again:
        pass
    for identity, message in taken:
        send(identity, zmq.SNDMORE)
        send(message)


if __name__ == "__main__":
    main()
