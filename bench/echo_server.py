"""The floor for REST: aiohttp's bare server, answering each request with a fixed body of the same size, on one port."""

from __future__ import annotations

import argparse
import asyncio
import gc

import uvloop
from aiohttp import web

_ANSWER = b'{"predictions":[2.5,3.0,4.5]}'


async def _echo(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=_ANSWER, headers={"Content-Type": "application/json"})


async def _serve(port: int) -> None:
    runner = web.ServerRunner(web.Server(_echo, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    gc.freeze()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
