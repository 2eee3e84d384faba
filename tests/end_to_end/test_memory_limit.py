"""Versions that would take more memory than there may be: refused with a reason, and loaded once there is room."""

from __future__ import annotations

from pathlib import Path

from end_to_end.conftest import Serve
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.version_folders import predicted, publish
from end_to_end.waiting import wait_until

LIMIT = 15
SIZE = 1_000_000  # bytes of files, so 1.2 million are reserved


def test_what_does_not_fit_is_refused_until_something_goes(models: Path, tmp_path: Path, serve: Serve) -> None:
    bases = {name: tmp_path / name for name in ("first", "second")}
    for base in bases.values():
        publish(models / "half_plus_two" / "2", base / "1")
        (base / "1" / "assets").mkdir(exist_ok=True)
        (base / "1" / "assets" / "vocabulary").write_bytes(bytes(SIZE))
    config = ModelConfigFile(tmp_path / "models.config")
    server = serve(
        config.write(*(entry(name, base) for name, base in bases.items())),
        f"--total_model_memory_limit_bytes={2 * SIZE}",  # room for one
        "--max_num_load_retries=0",
    )
    states = {name: server.states(name)[1] for name in bases}
    assert sorted(states.values()) == ["AVAILABLE", "END"]
    (there,), (refused,) = ([name for name in states if states[name] == state] for state in ("AVAILABLE", "END"))
    code, text = server.version_error(refused, 1)
    assert code == "RESOURCE_EXHAUSTED"
    assert text.startswith(f"Insufficient resources to load servable {{name: {refused} version: 1}}")
    assert f"--total_model_memory_limit_bytes={2 * SIZE}" in text
    assert server.predict(refused, {"instances": [2.0]}).status == 404
    memory = server.admin.call("status")["memory"]
    assert memory["limit_bytes"] == 2 * SIZE
    assert 0 < memory["reserved_bytes"] <= 2 * SIZE

    server.admin.call("unload", model=there)
    server.wait_for_states(refused, {1: "AVAILABLE"}, LIMIT)
    assert predicted(server, refused) == 4.0
    wait_until(lambda: server.states(there) == {1: "END"}, LIMIT, "the other one gone")
    assert (
        server.described(refused)["versions"][0]["estimate_bytes"] == server.admin.call("status")["memory"]["reserved_bytes"]
    )
