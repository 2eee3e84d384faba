"""Servers of one model that batch in different ways, all there at once: those that are not asked sleep."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.asked_rows import AskedRows
from bench.row_target import RowTarget
from bench.served_models import serve_locally, zmq_path
from bench.server import Server, free_port

#: Where a flag has this value, it gets the path of a file with the batching parameters.
PARAMETERS: Final = "--batching_parameters_file="


@contextmanager
def batching_servers(
    base: Path, rows: AskedRows, modes: Mapping[str, Sequence[str]], parameters: str = ""
) -> Iterator[dict[str, str]]:
    """The endpoint of a server for each mode, all answering. `modes`: their flags; `parameters`: the text of the file that
    the flag PARAMETERS names. Raises RuntimeError when one does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringserve-bench-")))
        file = folder / "parameters"
        file.write_text(parameters, encoding="utf-8")
        servers: dict[str, Server] = {}
        endpoints: dict[str, str] = {}
        for number, (mode, flags) in enumerate(modes.items()):
            place = folder / str(number)
            place.mkdir()
            endpoints[mode] = f"ipc://{zmq_path(place)}"
            command = [*serve_locally(base, free_port(), place), *(f"{f}{file}" if f == PARAMETERS else f for f in flags)]
            servers[mode] = stack.enter_context(Server(command, RowTarget(endpoints[mode], rows)))
        for server in servers.values():
            server.until_answered()
        yield endpoints
