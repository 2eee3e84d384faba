"""Whether the server can be asked; what single models answer is seen in test_health.py."""

from __future__ import annotations

from made_catalogs import load, report
from made_signatures import signature, spec

from frontend.catalog import Catalog
from frontend.readiness import Readiness, ServerReadiness
from ringserve.errors import Code
from ringserve.servable import ServableId, State

DEFAULT = signature(spec("x"))


def test_of_the_server() -> None:
    catalog = Catalog()
    assert ServerReadiness.of(catalog, False) == (True, "", {})
    load(catalog, "m", 1, DEFAULT)
    report(catalog, "broken", 1, State.END, Code.INTERNAL, "no such file")
    report(catalog, "gone", 1, State.END)
    readiness = ServerReadiness.of(catalog, False)
    assert (readiness.ready, readiness.error) == (False, "1 of 3 models can't be asked")
    assert readiness.lacking == {"broken": Readiness.of("broken", catalog)}
    assert ServerReadiness.of(catalog, True) == (False, "The server is stopping", {})


def test_what_is_gone_is_not_lacking() -> None:
    catalog = Catalog()
    load(catalog, "m", 1, DEFAULT)
    report(catalog, "coming", 1, State.LOADING)
    report(catalog, "gone", 1, State.END)
    lacking = {name: Readiness.of(name, catalog).is_lacking for name in ("m", "coming", "gone", "unknown")}
    assert lacking == {"m": False, "coming": True, "gone": False, "unknown": False}


def test_every_change_is_told() -> None:
    """What makes a model ready or not, by whatever message."""
    catalog, told = Catalog(), []
    catalog.listen(lambda names: told.append(sorted(names)))

    def heard() -> list[list[str]]:
        taken = list(told)
        told.clear()
        return taken

    load(catalog, "m", 1, DEFAULT)
    assert heard() == [["m"], ["m"]]  # requests find it, and its status
    catalog.set_models(["m", "n"])  # the first word on what is configured may change all
    assert heard() == [["m", "n"]]
    catalog.set_models(["m", "o"])
    assert heard() == [["n", "o"]]
    catalog.retire(ServableId("m", 1))
    assert heard() == [["m"]]
    catalog.forget_status("m", [1])
    assert heard() == [["m"]]
    catalog.notify(("m", "o"))
    assert heard() == [["m", "o"]]
    catalog.set_labels("m", {"stable": [(1, 1.0)]})  # whose lanes go by labels look again
    assert heard() == [["m"]]
