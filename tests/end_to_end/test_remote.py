"""A base path on a web server: its versions are copied here, and served whatever becomes of the web server."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from file_server import serving

from end_to_end.conftest import Serve
from end_to_end.version_folders import predicted, publish
from end_to_end.waiting import wait_until

LIMIT = 15


def copies(cache: Path) -> set[str]:
    """Versions of which there is a whole copy."""
    return {path.parent.name for path in cache.glob("half_plus_two-*/*/saved_model.pb")}


def test_versions_on_a_web_server(models: Path, tmp_path: Path, serve: Serve) -> None:
    store, cache = tmp_path / "store", tmp_path / "cache"
    base = store / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    with ExitStack() as web:
        address = web.enter_context(serving(store))
        server = serve(
            "--model_name=half_plus_two", f"--model_base_path={address}/half_plus_two", f"--model_cache_dir={cache}"
        )
        assert predicted(server) == 3.0
        assert copies(cache) == {"1"}
        publish(models / "half_plus_two" / "2", base / "2")
        server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, LIMIT)
        assert predicted(server) == 4.0
        wait_until(lambda: copies(cache) == {"2"}, LIMIT, lambda: f"the copy of version 1 removed: {copies(cache)}")
    wait_until(lambda: server.described("half_plus_two")["trouble"], LIMIT, "the web server missed")
    assert predicted(server) == 4.0
    assert server.states("half_plus_two") == {2: "AVAILABLE", 1: "END"}
    assert server.stop() == 0
    assert copies(cache) == {"2"}, "for the next start"


def test_a_copy_is_used_again_by_the_next_server(models: Path, tmp_path: Path, serve: Serve) -> None:
    asked: list[str] = []
    store, cache = tmp_path / "store", tmp_path / "cache"
    publish(models / "half_plus_two" / "2", store / "half_plus_two" / "1")
    with serving(store, lambda _, path: asked.append(path)) as address:
        flags = ("--model_name=half_plus_two", f"--model_base_path={address}/half_plus_two", f"--model_cache_dir={cache}")
        assert serve(*flags).stop() == 0
        assert any(path.endswith("saved_model.pb") for path in asked)
        asked.clear()
        server = serve(*flags)
        assert predicted(server) == 4.0
        assert not [path for path in asked if path.endswith("saved_model.pb")]
        assert asked, "the listing has been looked at"
        server.admin.call("unload", model="half_plus_two")
        wait_until(lambda: not copies(cache), LIMIT, "the copy removed with its model")
