"""One process of the load generator: `generator_process.py` starts it, and hands it its requests and its share of a plan.

Lines of JSON: {"requests", "share"} comes, {"connected"} or {"failed": why} goes out; "go" and the time to begin come, then
{"window"} goes out for each that is over, and {"finish"} at the end. It ends early when its input does.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from typing import Any

from bench.harness.driver import ClosedDriver, Driver, Finish, OpenDriver
from bench.harness.outcome import Window
from bench.harness.plan import Closed
from bench.harness.request_set import RequestSet
from bench.harness.share import Share
from bench.harness.transports import open_transport
from ringserve.child import become


def main() -> int:
    become("bench generator")
    words = json.loads(sys.stdin.readline())
    requests, share = RequestSet.from_wire(words["requests"]), Share.from_wire(words["share"])
    try:
        transport = open_transport(requests, share.slots)
    except Exception as error:
        _say({"failed": str(error) or type(error).__name__})
        return 1
    try:
        _say({"connected": True})
        _, _, began = sys.stdin.readline().partition("go ")
        if not began:
            return 0  # whoever started it has given up
        kind: type[Driver] = ClosedDriver if isinstance(share.plan.shape, Closed) else OpenDriver
        driver = kind(transport, share, len(requests.requests), _say_window)
        threading.Thread(target=_stop_at_the_end_of_input, args=(driver,), daemon=True).start()
        gc.freeze()  # there is nothing in what has been made so far that later collections would have to look at
        time.sleep(max(0.0, (int(began) - time.monotonic_ns()) / 1e9))
        _say({"finish": _to_wire(driver.run(int(began)))})
    finally:
        transport.close()
    return 0


def _stop_at_the_end_of_input(driver: Driver) -> None:
    sys.stdin.read()
    driver.stop()


def _say_window(window: Window) -> None:
    _say({"window": window.to_wire()})


def _to_wire(finish: Finish) -> dict[str, Any]:
    generator = finish.generator
    figures = {"cpu": generator.cpu, "late": generator.late, "unsent": generator.unsent}
    histograms = {"sent": finish.sent.to_wire(), "failed": finish.failed.to_wire()}
    return {"generator": figures, "seconds": finish.seconds, **histograms}


def _say(words: dict[str, Any]) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    sys.exit(main())
