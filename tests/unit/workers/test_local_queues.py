"""All queues of a worker, and the local clients' lanes that come into them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from local_client import MOST_BYTES, Client
from loop_thread import new_loop, turns
from queue_rig import FORM, SPEC, good
from small_version import SmallVersion

from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.bell import Bell
from shm.lane import Lane
from shm.layout import Column
from workers.absent_version import AbsentVersion
from workers.engine import LoadedVersion
from workers.local_consumer import LocalConsumer
from workers.loop import Loop
from workers.probe import Report
from workers.queues import Queues
from workers.route import Route

loop = new_loop

ONE = ServableId("m", 1)
REPORT = Report(FORM, True, "", True, 1e-5, 32)
ROUTE = Route(ONE, DEFAULT_SIGNATURE, None)


class Served:
    def __init__(self, loop: Loop) -> None:
        self.versions: dict[ServableId, LoadedVersion] = {ONE: SmallVersion()}
        self.loop = loop
        self.queues = Queues(loop, self.versions.get)
        self.clients: list[Client] = []

    def join(self, route: Route = ROUTE, report: Report = REPORT) -> Client:
        client = Client()
        mapped = Lane.attach(os.dup(client.lane.segment.fd), SPEC)
        bell = Bell(os.dup(client.far.fd))
        client.far.close()
        self.queues.add_local(route, report, len(self.clients), LocalConsumer(mapped, MOST_BYTES), bell, 32)
        self.clients.append(client)
        return client


@pytest.fixture
def served(loop: Loop) -> Iterator[Served]:
    served = Served(loop)
    yield served
    served.queues.dismiss(ONE, lambda: None)
    for client in served.clients:
        client.close()


def test_a_lane_is_served_and_dropped(served: Served) -> None:
    client = served.join()
    client.submit(1.0)
    turns(served.loop)
    assert client.answers() == [good(3.0)]
    served.queues.drop(0)
    assert client.hears(0)
    assert client.is_gone


@pytest.mark.parametrize("version", [None, AbsentVersion("why")])
def test_no_lane_of_a_version_that_is_not_there(served: Served, version: AbsentVersion | None) -> None:
    if version is None:
        del served.versions[ONE]
    else:
        served.versions[ONE] = version
    assert served.join().is_gone


def test_no_lane_of_a_version_that_goes(served: Served) -> None:
    first = served.join()
    served.queues.dismiss(ONE, lambda: None)
    assert first.is_gone
    assert served.join().is_gone
    served.queues.welcome(ONE)
    assert not served.join().is_gone


def test_no_lane_of_an_unknown_signature(served: Served) -> None:
    assert served.join(ROUTE._replace(signature="other")).is_gone


def test_no_lane_of_another_form_than_the_queues(served: Served) -> None:
    first = served.join()
    assert served.join(report=Report(None, False, "")).is_gone
    first.submit(1.0)
    turns(served.loop)
    assert first.answers() == [good(3.0)]


def test_queues_without_lanes_are_forgotten(served: Served) -> None:
    """Whoever asks for one form after the other leaves none behind."""
    kept = served.join()
    for size in range(20):
        client = served.join(ROUTE._replace(inputs=((1, Column("<f4", (size,))),)))
        assert not client.is_gone
        served.queues.drop(len(served.clients) - 1)
    assert len(served.loop.queues) == 2
    kept.submit(1.0)
    turns(served.loop)
    assert kept.answers() == [good(3.0)]
