"""What each verb of the admin socket does to the config and the models, and what it says when it can't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_administered import FakeAdministered

from manager.admin_verbs import AdminVerbs
from manager.config_file import ConfigFile
from ringserve.errors import Code, ServingError

BROKEN = ServingError(Code.NOT_FOUND, "no graph")


def do(server: FakeAdministered, verb: str, **fields: Any) -> Any:
    """The result of one verb."""
    return asyncio.run(AdminVerbs(server).do(request(verb, **fields)))


def request(verb: str, **fields: Any) -> bytes:
    return json.dumps({"verb": verb, **fields}).encode()


def refused(server: FakeAdministered, verb: str, **fields: Any) -> ServingError:
    before = server.config()
    with pytest.raises(ServingError) as caught:
        do(server, verb, **fields)
    assert server.config() == before, "a refusal changes nothing"
    return caught.value


def play(script: Callable[[AdminVerbs], Awaitable[None]], server: FakeAdministered) -> None:
    async def played() -> None:
        verbs = AdminVerbs(server)
        try:
            async with asyncio.timeout(10):
                await script(verbs)
        finally:
            await verbs.close()

    asyncio.run(played())


def specific(server: FakeAdministered, name: str) -> list[int]:
    return list(server.model(name).model_version_policy.specific.versions)


@pytest.fixture
def server() -> FakeAdministered:
    """Serves version 2 of m, which has 1 and 2."""
    server = FakeAdministered()
    server.add("m", 1, 2)
    return server


def test_list_is_short(server: FakeAdministered) -> None:
    server.model("m").version_labels["prod"] = 2
    (model,) = do(server, "list")["models"]
    assert (model["name"], model["base_path"], model["labels"]) == ("m", "/models/m", {"prod": [[2, 1.0]]})
    assert model["versions"] == [{"version": 2, "state": "AVAILABLE"}]


def test_status_of_all_and_of_one(server: FakeAdministered) -> None:
    server.add("n", 7)
    assert do(server, "status") == server.describe()
    one = do(server, "status", model="n")
    assert [model["name"] for model in one["models"]] == ["n"]
    assert one["workers"] == server.describe()["workers"]
    assert str(refused(server, "status", model="x")) == "NOT_FOUND: no model x is configured"


def test_explain_waits_for_workers_a_few_seconds_at_most(server: FakeAdministered) -> None:
    assert do(server, "explain", model="m") == {"model": "m", "versions": [{"version": 2}]}
    do(server, "explain", model="m", timeout=0.5)
    assert server.explained == [("m", 5.0), ("m", 0.5)]
    assert str(refused(server, "explain", model="x")) == "NOT_FOUND: no model x is configured"
    assert refused(server, "explain").code is Code.INVALID_ARGUMENT
    assert refused(server, "explain", model="m", version=2).message == 'explain takes no "version"'


def test_load_adds_a_model(server: FakeAdministered) -> None:
    server.disk["/models/new"] = {1: None, 5: None}
    result = do(server, "load", model="new", base_path="/models/new", timeout=7)
    assert {"model": "new", "change": "added", "error": None} in result["outcomes"]
    assert result["model"]["versions"][0]["state"] == "AVAILABLE"
    assert server.model("new").model_platform == "tensorflow"
    assert server.state("new") == {5: "AVAILABLE"}
    assert server.state("m") == {2: "AVAILABLE"}
    assert server.timeouts[0] == pytest.approx(7, abs=1)


def test_load_adds_a_model_with_one_version(server: FakeAdministered) -> None:
    server.disk["/t"] = {1: None, 5: None}
    do(server, "load", model="new", base_path="/t", platform="lookup_table", version=1)
    assert server.model("new").model_platform == "lookup_table"
    assert server.state("new") == {1: "AVAILABLE"}


@pytest.mark.parametrize("fields", [{}, {"base_path": "/models/m"}, {"base_path": "/models/m/", "platform": "tensorflow"}])
def test_load_again_is_no_change(server: FakeAdministered, fields: dict[str, str]) -> None:
    result = do(server, "load", model="m", **fields)
    assert result["outcomes"] == [{"model": "m", "change": "kept", "error": None}]


def test_load_of_another_model_under_the_name(server: FakeAdministered) -> None:
    error = refused(server, "load", model="m", base_path="/elsewhere")
    assert str(error) == "ALREADY_EXISTS: model m is there already, with the base path /models/m"
    error = refused(server, "load", model="m", platform="lookup_table")
    assert str(error) == "ALREADY_EXISTS: model m is there already, with the platform tensorflow"
    assert refused(server, "load", model="x").code is Code.NOT_FOUND
    assert refused(server, "load", model="x", base_path="relative").code is Code.INVALID_ARGUMENT


def test_load_a_version_besides_those_that_are_served(server: FakeAdministered) -> None:
    do(server, "load", model="m", version=1)
    assert specific(server, "m") == [1, 2]
    assert server.state("m") == {1: "AVAILABLE", 2: "AVAILABLE"}


def test_load_a_version_in_the_middle_of_a_switch_pins_what_is_to_be_served(server: FakeAdministered) -> None:
    server.disk["/models/m"][3] = None
    server.stuck.add(("m", 3))
    server.lingering.add(("m", 2))
    server.find()
    server.versions["m"][2]["state"] = "AVAILABLE"  # until 3 is there
    do(server, "load", model="m", version=1)
    assert specific(server, "m") == [1, 3]
    assert refused(server, "unload", model="m", version=2).message == "version 2 of model m is not served"


def test_load_a_version_keeps_what_the_policy_names(server: FakeAdministered) -> None:
    """Also what it names in vain, so far."""
    server.model("m").model_version_policy.specific.versions.append(9)
    server.find()
    do(server, "load", model="m", version=1)
    assert specific(server, "m") == [1, 9]


def test_load_a_version_that_fails(server: FakeAdministered) -> None:
    server.disk["/models/m"][3] = BROKEN
    with pytest.raises(ServingError) as caught:
        do(server, "load", model="m", version=3)
    assert str(caught.value) == "NOT_FOUND: version 3 of model m: no graph"
    assert server.state("m") == {2: "AVAILABLE", 3: "END"}


@pytest.fixture
def failed_before(server: FakeAdministered) -> FakeAdministered:
    """Version 3 of m has failed, and the server finds out later that it is there again."""
    server.disk["/models/m"][3] = BROKEN
    server.model("m").model_version_policy.specific.versions.extend([2, 3])
    server.find()
    server.lazy = True
    return server


def test_a_failure_of_long_ago_is_no_answer_while_the_version_may_come(failed_before: FakeAdministered) -> None:
    failed_before.disk["/models/m"][3] = None

    async def script(verbs: AdminVerbs) -> None:
        loading = asyncio.ensure_future(verbs.do(request("load", model="m", version=3)))
        while not failed_before.reloads:
            await asyncio.sleep(0)
        await asyncio.wait([loading], timeout=0.2)
        assert not loading.done()
        failed_before.find()
        result = await loading
        assert result["model"]["versions"][0]["state"] == "AVAILABLE"

    play(script, failed_before)


def test_a_failure_of_long_ago_is_the_answer_when_nothing_happens(
    failed_before: FakeAdministered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manager.admin_verbs._OLD_FAILURE_SECONDS", 0.1)
    with pytest.raises(ServingError, match="NOT_FOUND: version 3 of model m: no graph"):
        do(failed_before, "load", model="m", version=3)


def test_load_a_new_model_that_fails(server: FakeAdministered) -> None:
    server.disk["/models/new"] = {1: BROKEN}
    with pytest.raises(ServingError) as caught:
        do(server, "load", model="new", base_path="/models/new")
    assert str(caught.value) == "NOT_FOUND: no graph"
    with pytest.raises(ServingError) as caught:
        do(server, "load", model="empty", base_path="/models/empty")
    assert str(caught.value) == "NOT_FOUND: nothing there"


def test_a_model_without_versions_gets_one(server: FakeAdministered, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there was none is no answer at once: the server may not have looked again."""
    server.add("empty")
    server.lazy = True
    server.disk["/models/empty"] = {1: None}

    async def script(verbs: AdminVerbs) -> None:
        loading = asyncio.ensure_future(verbs.do(request("load", model="empty")))
        await asyncio.wait([loading], timeout=0.2)
        server.find()
        assert (await loading)["model"]["versions"][0]["state"] == "AVAILABLE"

    play(script, server)
    server.add("none")
    monkeypatch.setattr("manager.admin_verbs._OLD_FAILURE_SECONDS", 0.1)
    with pytest.raises(ServingError) as caught:
        do(server, "load", model="none")
    assert str(caught.value) == "FAILED_PRECONDITION: model none has no version to serve: nothing at /models/none"


def test_load_that_takes_too_long(server: FakeAdministered) -> None:
    server.stuck.add(("m", 1))
    with pytest.raises(ServingError) as caught:
        do(server, "load", model="m", version=1, timeout=0.1)
    assert str(caught.value) == "DEADLINE_EXCEEDED: version 1 of model m is LOADING after 0.1 s"
    with pytest.raises(ServingError) as caught:
        do(server, "load", model="m", version=8, timeout=0.1)
    assert caught.value.message == "no version 8 of model m has been found after 0.1 s"


def test_unload_a_model(server: FakeAdministered) -> None:
    result = do(server, "unload", model="m")
    assert result["outcomes"] == [{"model": "m", "change": "removed", "error": None}]
    assert server.message.HasField("model_config_list")
    assert server.state("m") == {2: "END"}
    assert do(server, "list") == {"models": []}
    assert do(server, "status")["models"] == []
    assert refused(server, "unload", model="m").code is Code.NOT_FOUND


def test_unload_waits_for_the_versions_to_go(server: FakeAdministered) -> None:
    server.lingering.add(("m", 2))
    with pytest.raises(ServingError) as caught:
        do(server, "unload", model="m", timeout=0.1)
    assert str(caught.value) == "DEADLINE_EXCEEDED: model m is still being unloaded after 0.1 s"
    assert [model["name"] for model in do(server, "list")["models"]] == ["m"]


def test_unload_a_version(server: FakeAdministered) -> None:
    model = server.model("m")
    model.model_version_policy.all.SetInParent()
    model.shadows.add(version=2, sampling_rate=0.5)
    server.find()
    do(server, "unload", model="m", version=2)
    assert specific(server, "m") == [1]
    assert server.state("m") == {1: "AVAILABLE", 2: "END"}
    assert not server.model("m").shadows


def test_unload_a_version_that_is_needed_or_not_there(server: FakeAdministered) -> None:
    error = refused(server, "unload", model="m", version=2)
    assert str(error) == "FAILED_PRECONDITION: version 2 is the only one of model m: unload the model itself"
    assert str(refused(server, "unload", model="m", version=1)) == "NOT_FOUND: version 1 of model m is not served"
    do(server, "load", model="m", version=1)
    server.model("m").version_labels["prod"] = 2
    error = refused(server, "unload", model="m", version=2)
    assert error.message == "label prod of model m points at version 2: move or remove the label first"
    split = server.model("m").label_splits.add(label="half")
    split.versions.add(version=1, weight=1)
    assert refused(server, "unload", model="m", version=1).code is Code.FAILED_PRECONDITION


def test_reload_the_servers_own_file(server: FakeAdministered, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("model_config_list { config { name: 'z' base_path: '/z' model_platform: 'tensorflow' } }")
    server.file = ConfigFile(str(path))
    server.disk["/z"] = {1: None}
    outcomes = do(server, "reload")["outcomes"]
    assert [(outcome["model"], outcome["change"]) for outcome in outcomes] == [("z", "added"), ("m", "removed")]


def test_reload_another_file(server: FakeAdministered, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("model_config_list { config { name: 'z' base_path: '/z' model_platform: 'tensorflow' } }")
    server.disk["/z"] = {1: BROKEN}
    outcomes = do(server, "reload", file=str(path))["outcomes"]
    assert outcomes[0] == {"model": "z", "change": "added", "error": {"code": "NOT_FOUND", "message": "no graph"}}
    path.write_text("model_config_list { confog {} }")
    assert "Invalid protobuf file" in refused(server, "reload", file=str(path)).message
    assert str(refused(server, "reload", file="/no/such")) == "NOT_FOUND: /no/such; No such file or directory"
    assert refused(server, "reload", file="models.config").message == "file is not an absolute path: models.config"


def test_labels(server: FakeAdministered) -> None:
    do(server, "set_label", model="m", label="prod", versions={"2": 1})
    assert dict(server.model("m").version_labels) == {"prod": 2}
    result = do(server, "set_label", model="m", label="prod", versions={"1": 95, "2": 5})
    assert result["model"]["labels"] == {"prod": [[1, 95.0], [2, 5.0]]}
    assert not server.model("m").version_labels
    do(server, "set_label", model="m", label="prod", versions={"1": 3})
    assert server.describe()["models"][0]["labels"] == {"prod": [[1, 1.0]]}
    do(server, "remove_label", model="m", label="prod")
    assert server.describe()["models"][0]["labels"] == {}
    assert str(refused(server, "remove_label", model="m", label="prod")) == "NOT_FOUND: model m has no label prod"
    do(server, "set_label", model="m", label="prod", versions={"1": 95, "2": 5})
    do(server, "remove_label", model="m", label="prod")
    assert not server.model("m").label_splits


def test_labels_that_cannot_be(server: FakeAdministered) -> None:
    zero = refused(server, "set_label", model="m", label="prod", versions={"1": 0, "2": 0})
    assert zero.code is Code.INVALID_ARGUMENT  # the server's own check
    assert refused(server, "set_label", model="x", label="prod", versions={"1": 1}).code is Code.NOT_FOUND


def test_shadows(server: FakeAdministered) -> None:
    result = do(server, "set_shadow", model="m", version=1, rate=0.1)
    assert result["model"]["shadows"][0][:2] == [1, 0.1]
    do(server, "set_shadow", model="m", version=1, rate=1)
    assert [(shadow.version, shadow.sampling_rate) for shadow in server.model("m").shadows] == [(1, 1.0)]
    do(server, "set_shadow", model="m", version=1, rate=0)
    assert not server.model("m").shadows
    assert refused(server, "set_shadow", model="m", version=1, rate=1.5).code is Code.INVALID_ARGUMENT


def test_two_changes_at_once_are_both_made(server: FakeAdministered) -> None:
    async def script(verbs: AdminVerbs) -> None:
        server.gate.clear()
        labels = [verbs.do(request("set_label", model="m", label=label, versions={"2": 1})) for label in "abc"]
        waiting = asyncio.gather(*labels)
        while len(server.reloads) < 3:
            await asyncio.sleep(0)
        server.gate.set()
        await waiting

    play(script, server)
    assert dict(server.model("m").version_labels) == {"a": 2, "b": 2, "c": 2}


def test_a_change_goes_on_without_whoever_asked(server: FakeAdministered) -> None:
    finished = []

    async def script(verbs: AdminVerbs) -> None:
        server.gate.clear()
        asking = asyncio.ensure_future(verbs.do(request("unload", model="m")))
        while not server.reloads:
            await asyncio.sleep(0)
        asking.cancel()
        reload = next(task for task in asyncio.all_tasks() if "_reload" in repr(task.get_coro()))
        server.gate.set()
        await reload
        finished.append(reload.result())

    play(script, server)
    assert len(finished) == 1


def test_a_reload_that_never_ends_is_given_up_at_the_end(server: FakeAdministered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manager.model_changes._GRACE_SECONDS", 0.0)

    async def script(verbs: AdminVerbs) -> None:
        server.gate.clear()
        with pytest.raises(ServingError, match=r"the change is not complete after 0\.05 s; it goes on"):
            await verbs.do(request("unload", model="m", timeout=0.05))
        await verbs.close()
        assert len(asyncio.all_tasks()) == 1

    play(script, server)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", "the request is not JSON: "),
        (b"\xff", "the request is not JSON: "),
        (b"[" * 100_000, "the request is not JSON: "),
        (b"[1]", "the request is not a JSON object"),
        (b"{}", "the request has no verb"),
        (b'{"verb": 1}', "verb is not a text of printable characters: 1"),
        (b'{"verb": "load"}', "the request has no model"),
        (b'{"verb": "load", "model": ""}', 'model is not a text of printable characters: ""'),
        (b'{"verb": "load", "model": "a\\u0000"}', "model is not a text of printable characters"),
        (b'{"verb": "load", "model": "\\ud800"}', "model is not a text of printable characters"),
        (b'{"verb": "load", "model": "m", "version": "1"}', 'version is not the number of a version: "1"'),
        (b'{"verb": "load", "model": "m", "version": true}', "version is not the number of a version: true"),
        (b'{"verb": "load", "model": "m", "version": 9223372036854775808}', "version is not the number of a version"),
        (b'{"verb": "load", "model": "m", "base-path": "/"}', 'load takes no "base-path"'),
        (b'{"verb": "list", "timeout": 0}', "timeout is to be more than 0 s"),
        (b'{"verb": "list", "timeout": NaN}', "timeout is not a finite number"),
        (b'{"verb": "list", "timeout": 1' + b"0" * 400 + b"}", "timeout is not a finite number"),
        (b'{"verb": "set_label", "model": "m", "label": "l"}', "versions is not an object of versions and their weights"),
        (b'{"verb": "set_label", "model": "m", "label": "l", "versions": {}}', "versions is not an object"),
        (b'{"verb": "set_label", "model": "m", "label": "l", "versions": {"x": 1}}', "versions names no version"),
        (b'{"verb": "set_label", "model": "m", "label": "l", "versions": {"1": 1, "01": 1}}', "versions names no version"),
        (b'{"verb": "set_label", "model": "m", "label": "l", "versions": {"1": "x"}}', "the weight of version 1 is not a"),
        (b'{"verb": "set_shadow", "model": "m", "version": 1}', "the request has no rate"),
    ],
)
def test_requests_that_are_none(server: FakeAdministered, line: bytes, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        asyncio.run(AdminVerbs(server).do(line))
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(text)
    assert not server.reloads


def test_an_unknown_verb_is_told_the_others(server: FakeAdministered) -> None:
    error = refused(server, "explode")
    assert error.code is Code.UNIMPLEMENTED
    assert error.message.startswith("unknown verb explode (there are list, status, explain, load,")
