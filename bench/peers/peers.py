"""All peers that are servers, in the order of the tables."""

from __future__ import annotations

from typing import Final

from bench.peers import bentoml, fastapi, litserve, mlserver, mosec, pytriton, ray_serve, ringserve
from bench.peers.peer import Peer

PEERS: Final[tuple[Peer, ...]] = tuple(
    module.PEER for module in (ringserve, mosec, mlserver, litserve, bentoml, ray_serve, pytriton, fastapi)
)
