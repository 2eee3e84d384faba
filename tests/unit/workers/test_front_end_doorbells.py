"""One doorbell a front end, and no descriptor that stays."""

from __future__ import annotations

import os

from shm.doorbell import Doorbell
from workers.front_end_doorbells import FrontEndDoorbells


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_lanes_of_a_front_end_share_one() -> None:
    role = Doorbell.create()
    handed = [os.dup(role.fd) for _ in range(3)]
    doorbells = FrontEndDoorbells()
    taken = [doorbells.take("rest 0", fd) for fd in handed]
    assert [is_open(fd) for fd in handed] == [True, False, False]
    taken[2].ring()
    assert role.wait(1.0)
    taken[0].close()
    taken[1].close()
    taken[2].ring()
    assert role.wait(1.0)
    assert is_open(handed[0])
    taken[2].close()
    assert not is_open(handed[0])
    role.close()


def test_one_that_was_closed_is_taken_anew() -> None:
    role = Doorbell.create()
    doorbells = FrontEndDoorbells()
    doorbells.take("rest 0", os.dup(role.fd)).close()
    again = doorbells.take("rest 0", os.dup(role.fd))
    again.ring()
    assert role.wait(1.0)
    again.close()
    role.close()


def test_front_ends_are_told_apart() -> None:
    roles = [Doorbell.create() for _ in range(2)]
    doorbells = FrontEndDoorbells()
    one, two = (doorbells.take(f"rest {index}", os.dup(role.fd)) for index, role in enumerate(roles))
    two.ring()
    assert not roles[0].wait(0)
    assert roles[1].wait(1.0)
    one.close()
    two.ring()
    assert roles[1].wait(1.0), "the other's end is not its own"
    two.close()
    assert (one.fd, two.fd) == (-1, -1)
    for role in roles:
        role.close()
