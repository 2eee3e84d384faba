"""The floor for ring-pingpong: a process that answers each ring of one eventfd with a ring of another."""

from __future__ import annotations

import argparse
import os

from ringserve.child import become


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rung", type=int, required=True, help="file descriptor to wait on")
    parser.add_argument("--answer", type=int, required=True, help="file descriptor to ring")
    arguments = parser.parse_args()
    become("bench eventfd echo")
    rung: int = arguments.rung
    answer: int = arguments.answer
    os.eventfd_write(answer, 1)
    while True:
        os.eventfd_read(rung)
        os.eventfd_write(answer, 1)


if __name__ == "__main__":
    main()
