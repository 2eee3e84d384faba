"""The floor for images as JSON: an aiohttp server that does what one does by hand, orjson and numpy.array."""

from __future__ import annotations

import argparse
import asyncio
import gc
from typing import Final

import numpy as np
import orjson
import uvloop
from aiohttp import web

_MOST_BYTES: Final = 1 << 30


async def _predict(request: web.Request) -> web.Response:
    images = np.array(orjson.loads(await request.read())["instances"], dtype=np.float32)
    answer = {"predictions": images.mean(axis=(1, 2, 3)).tolist()}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _serve(port: int) -> None:
    application = web.Application(client_max_size=_MOST_BYTES)
    application.router.add_post("/{path:.*}", _predict)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    gc.freeze()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
