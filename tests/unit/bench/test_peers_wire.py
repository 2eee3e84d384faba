"""Requests to other servers, and how the environments and processes of these are found."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgpack
import numpy as np
import orjson
import pytest

from bench.peers.peer import Command, Peer, Place
from bench.peers.peer_model import MODELS
from bench.peers.peers import PEERS
from bench.peers.wire import Wire, image_bytes, json_rows, v2_bytes
from bench.server_processes import model_process, proportional_memory

ROW = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)


def test_json_has_rows() -> None:
    body, media, _ = json_rows("/p").body("x", ROW)
    assert (orjson.loads(body), media) == ({"instances": ROW.tolist()}, "application/json")


def test_message_pack_has_the_bytes() -> None:
    body, _, _ = image_bytes("/p").body("x", ROW)
    assert msgpack.unpackb(body) == {"bytes": ROW.tobytes(), "shape": [1, 2, 3]}


def test_v2_gives_rows_without_a_shape_one() -> None:
    body, _, headers = v2_bytes("/p").body("x", np.array([2.5], np.float32))
    length = int(headers["Inference-Header-Content-Length"])
    (entry,) = orjson.loads(body[:length])["inputs"]
    assert entry["shape"] == [1, 1]
    assert body[length:] == np.float32(2.5).tobytes()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_say_how_they_are_set_up(peer: Peer, tmp_path: Path) -> None:
    assert peer.settings
    place = Place(MODELS[0], Path("/env/bin/python"), 12345, tmp_path)
    place.base.mkdir()
    words = peer.command(place).words
    assert words[0] == "env"
    assert any("12345" in word for word in words) or peer.name == "MLServer"  # which has it in a file
    for row in peer.rows:
        for model in MODELS:
            form = row.form(model)
            if isinstance(form, Wire):
                assert form.path.startswith("/")


def test_commands_name_their_environment() -> None:
    assert "A=b" in Command(["true"], {"A": "b"}).words


def test_memory_is_that_of_all_processes() -> None:
    memory = proportional_memory(os.getpid())
    assert memory.processes >= 1
    assert memory.megabytes > 1


def test_a_process_without_children_that_run_models_is_known() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert model_process(process.pid) is None
        process.kill()
