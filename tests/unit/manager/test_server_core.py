"""Reloads of the configuration: all of it or nothing, what they wait for, and what they say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from core_rig import Rig, config, label, model, plain
from fake_loader import BAD, FakeLoader, settle
from plugin_sources import Recorded
from stage import pass_time, run

from manager.config_messages import ModelServerConfig
from manager.reload_outcome import ModelOutcome, failure
from manager.server_core import first_models
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId, State

DOWN = FakeLoader(load_error=BAD)


async def served(rig: Rig, *models: str, version: int = 1) -> None:
    """Start with these models, and bring a version of each up."""
    rig.start(*models)
    for source in Recorded.made:
        source.emit(version)
    await settle()


def custom() -> Any:
    message = ModelServerConfig()
    message.custom_model_config.type_url = "type.googleapis.com/x"
    return message


SPLIT = "label_splits { label: 'prod' versions { version: 1 weight: 1 } versions { version: 2 weight: 1 } }"


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (custom(), Code.FAILED_PRECONDITION, "Cannot transition to requested config. It is only legal to transition from"),
        (config(model(), model("n"), model("n")), Code.INVALID_ARGUMENT, "Illegal to list model n multiple times"),
        (config(model(), model("n", "model_type: OTHER")), Code.INVALID_ARGUMENT, "Illegal setting both"),
        (
            config(model(), "name: 'n' base_path: 'n' model_platform: 'tensorflow'"),
            Code.INVALID_ARGUMENT,
            "Expected model n to have an absolute path or URI; got base_path()=n",
        ),
        (config(model(), model("n", platform="x")), Code.INVALID_ARGUMENT, "Model n requests unsupported platform x"),
        (config(model(), model("n", "devices: 'gpu:7'")), Code.INVALID_ARGUMENT, "Model n is to be on device gpu:7"),
        (config(model("n"), model("m", "shadows { version: 1 }")), Code.INVALID_ARGUMENT, "Model m shadows version 1 at"),
        (
            config(model("n"), model(platform="lookup_table")),
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is "
            "lookup_table",
        ),
        (
            config(model("n"), model("m", label("stable", 1) + label("next", 2))),
            Code.FAILED_PRECONDITION,
            "Request to assign label to version 2 of model m, which is not currently available for inference",
        ),
        (config(model("n"), model("m", SPLIT)), Code.FAILED_PRECONDITION, "Request to assign label to version 2 of model m"),
    ],
)
def test_a_config_that_is_refused_changes_nothing(message: Any, code: Code, text: str) -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        await rig.core.reload(config(model("m", label("stable", 1))))
        models, labels, told = dict(rig.core.models), dict(rig.serving.labels), list(rig.told.messages)
        with pytest.raises(ServingError) as caught:
            await rig.core.reload(message)
        assert (caught.value.code, caught.value.message[: len(text)]) == (code, text)
        await settle()
        assert (rig.core.models, rig.serving.labels, rig.told.messages) == (models, labels, told)
        assert [source.closed for source in Recorded.made] == [0]
        assert rig.available() == [1]
        assert rig.core.reloads == {"ok": 1, "refused": 1, "incomplete": 0}

    run(work())


def test_a_reload_serves_what_is_new_and_unloads_what_has_gone() -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model("a", label("l", 1)), model("b"), model("c"))
        new = config(model("a", label("l", 1)), model("b", "loader_options { key: 'x' value: 'y' }"), model("d"))
        reload = asyncio.ensure_future(rig.core.reload(new))
        await settle()
        assert not reload.done()
        rig.source("d").emit(5)
        assert plain(await reload) == [
            ("a", "kept", None),
            ("b", "changed", None),
            ("c", "removed", None),
            ("d", "added", None),
        ]
        await settle()
        assert [rig.available(name) for name in "abcd"] == [[1], [1], [], [5]]
        assert [event.state for event in rig.monitor.versions("c")] == [State.END], "and it stays visible"
        assert rig.core.reloads == {"ok": 1, "refused": 0, "incomplete": 0}
        assert rig.core.config() == new

    run(work())


def test_an_empty_list_unloads_everything_and_an_empty_config_nothing() -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        assert await rig.core.reload(ModelServerConfig()) == []
        await settle()
        assert rig.available() == [1]
        assert plain(await rig.core.reload(config())) == [("m", "removed", None)]
        await settle()
        assert rig.available() == []

    run(work())


def test_only_models_that_are_added_are_waited_for() -> None:
    async def work() -> None:
        rig = Rig()
        rig.loaders["down", 1] = FakeLoader(load_error=BAD)
        await served(rig, model(), model("down"))
        rig.loaders["m", 2] = loading = FakeLoader()
        loading.hold("load")
        rig.source("m").emit(1, 2)
        await settle()
        outcomes = await rig.core.reload(config(model("m", "loader_options { key: 'x' value: 'y' }"), model("down")))
        assert plain(outcomes) == [("down", "kept", None), ("m", "changed", None)]
        assert failure(outcomes) is None

    run(work())


def test_an_added_model_that_fails_stays_configured_and_the_outcome_says_why() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        rig.loaders["n", 1] = FakeLoader(load_error=BAD)
        reload = asyncio.ensure_future(rig.core.reload(config(model("m"), model("n"))))
        await settle()
        rig.source("m").emit(1)
        rig.source("n").emit(1)
        outcomes = await reload
        error = failure(outcomes)
        assert error is not None
        assert (error.code, error.message) == (
            Code.UNKNOWN,
            "1 model(s) did not become available: "
            "{{{name: n version: 1} due to error: INVALID_ARGUMENT: no model in there}, }",
        )
        assert (list(rig.core.models), rig.core.reloads["incomplete"]) == (["m", "n"], 1)
        rig.source("n").emit(2)
        await settle()
        assert rig.available("n") == [2]

    run(work())


def test_a_source_that_finds_no_version_is_an_answer_too() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        reload = asyncio.ensure_future(rig.core.reload(config(model())))
        await settle()
        rig.source("m").emit()
        assert plain(await reload) == [("m", "added", Code.NOT_FOUND)]

    run(work())


@pytest.mark.parametrize(("option", "timeout", "seconds"), [(300, None, 300), (300, 7.0, 7), (0, 7.0, 7)])
def test_a_reload_that_takes_too_long_says_so_and_goes_on(option: int, timeout: float | None, seconds: int) -> None:
    async def work() -> None:
        rig = Rig(reload_timeout=option)
        rig.start()
        rig.loaders["m", 1] = loading = FakeLoader()
        loaded = loading.hold("load")
        reload = asyncio.ensure_future(rig.core.reload(config(model()), timeout))
        await settle()
        rig.source("m").emit(1)
        await pass_time(seconds - 1)
        assert not reload.done()
        await pass_time(2)
        (outcome,) = await reload
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.message) == (Code.DEADLINE_EXCEEDED, "model m is still being loaded")
        loaded.set()
        await settle()
        assert rig.available() == [1]

    run(work())


def test_no_time_to_wait_is_not_for_ever() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        reload = asyncio.ensure_future(rig.core.reload(config(model()), 0.0))
        await settle()
        assert reload.done()
        assert plain(await reload) == [("m", "added", Code.DEADLINE_EXCEEDED)]
        assert plain(await rig.core.reload(config(model()), 0.0)) == [("m", "kept", None)]

    run(work())


def test_no_reload_timeout_is_no_end_of_waiting() -> None:
    async def work() -> None:
        rig = Rig(reload_timeout=0)
        rig.start()
        reload = asyncio.ensure_future(rig.core.reload(config(model())))
        await pass_time(1e6)
        assert not reload.done()
        rig.source("m").emit(1)
        assert plain(await reload) == [("m", "added", None)]

    run(work())


def test_a_reload_that_waits_holds_up_no_other() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        first = asyncio.ensure_future(rig.core.reload(config(model("slow"))))
        await settle()
        second = asyncio.ensure_future(rig.core.reload(config(model("slow"), model("m"))))
        await settle()
        rig.source("m").emit(1)
        assert plain(await second) == [("m", "added", None), ("slow", "kept", None)]
        await rig.core.reload(config(model("m")))
        await settle()
        assert first.done(), "another reload took it away: there is nothing to wait for, and nothing is amiss"
        assert plain(await first) == [("slow", "added", None)]

    run(work())


@pytest.mark.parametrize("call", ["quiesce", "load"])
def test_a_model_that_comes_back_is_waited_for_whatever_becomes_of_its_former_self(call: str) -> None:
    async def work() -> None:
        rig = Rig()
        rig.loaders["m", 1] = former = FakeLoader()
        gate = former.hold(call)
        await served(rig, model())
        await rig.core.reload(config())
        reload = asyncio.ensure_future(rig.core.reload(config(model())))
        await settle()
        gate.set()
        await settle()
        assert rig.monitor.state(ServableId("m", 1)) is not None
        assert former.calls[-1] == "unload"
        assert not reload.done()
        rig.source("m").emit(1)
        assert plain(await reload) == [("m", "added", None)]
        assert rig.available() == [1]

    run(work())


def test_a_version_that_is_yet_to_be_unloaded_is_none_of_the_model_that_comes_back() -> None:
    async def work() -> None:
        rig = Rig(unloads=1)
        rig.loaders["a", 1] = FakeLoader()
        rig.loaders["a", 1].hold("quiesce")
        await served(rig, model("a"), model("m"))
        await rig.core.reload(config())
        await settle()
        assert rig.available("m") == [1], "one unload at a time"
        reload = asyncio.ensure_future(rig.core.reload(config(model())))
        await settle()
        assert not reload.done()
        rig.source("m").emit(1)
        rig.loaders["a", 1].gates["quiesce"].set()
        assert plain(await reload) == [("m", "added", None)]
        assert rig.available("m") == [1]

    run(work())


def test_new_loader_options_give_a_failed_version_another_chance() -> None:
    async def work() -> None:
        rig = Rig()
        rig.loaders["m", 1] = FakeLoader(load_error=BAD, what="old options")
        await served(rig, model())
        assert rig.available() == []
        options = "loader_options { key: 'default' value: 'unknown' }"
        assert plain(await rig.core.reload(config(model("m", options)))) == [("m", "changed", None)]
        await settle()
        assert rig.available() == [1]
        assert rig.configs[-1].loader_options == {"default": "unknown"}

    run(work())


def test_the_first_models_come_from_the_flags() -> None:
    models, file = first_models(ServerOptions(model_name="m", model_base_path="/models/m"), ["cpu:0"])
    assert ([(model.name, model.base_path) for model in models], file) == ([("m", "/models/m")], None)
    with pytest.raises(ServingError) as caught:
        first_models(ServerOptions(model_base_path="models/m"), ["cpu:0"])
    text = "Expected model default to have an absolute path or URI; got base_path()=models/m"
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, text)


def test_failures_in_upstream_s_words() -> None:
    bad = [ModelOutcome(name, "added", ServingError(Code.NOT_FOUND, f"no {name}")) for name in "ab"]
    error = failure([ModelOutcome("c", "kept"), *bad])
    assert error is not None
    assert error.message == "2 model(s) did not become available: {{no a}, {no b}, }"
    assert failure([ModelOutcome("c", "kept")]) is None
