"""HandleReloadConfigRequest: every text that upstream has for it, what it waits for, and the metrics it tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from core_rig import Rig, config, label, model
from fake_loader import BAD, FakeLoader, settle
from google.protobuf import text_format
from plugin_sources import Recorded
from stage import pass_time, run

from manager.grpc_reload import GrpcReload
from manager.load_record import LoadRecord
from manager.upstream_metrics import UpstreamPage
from ringserve.channel import Message
from ringserve.errors import Code
from ringserve.protos import message_module
from ringserve.servable import State
from shm.counter_families import FAMILIES

MESSAGES = message_module("tensorflow_serving.apis.model_management_pb2")
WRONG_KIND = "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"


def request(*models: str, metrics: Iterable[str] = ()) -> bytes:
    """With the fields that only this server has, as a client has them that knows them."""
    message = MESSAGES.ReloadConfigRequest(metric_names=metrics)
    message.config.ParseFromString(config(*models).SerializeToString())
    data: bytes = message.SerializeToString()
    return data


def upstreams(*models: str) -> bytes:
    """Of a client that has upstream's messages."""
    message = MESSAGES.ReloadConfigRequest()
    message.config.model_config_list.SetInParent()
    for fields in models:
        text_format.Parse(fields, message.config.model_config_list.config.add())
    data: bytes = message.SerializeToString()
    return data


def no_metrics(names: Iterable[str]) -> Mapping[str, int]:
    raise AssertionError(f"not asked for: {list(names)}")


def reloading(rig: Rig) -> GrpcReload:
    return GrpcReload(rig.core, no_metrics)


def response(answer: Message) -> Any:
    assert (answer["code"], answer["message"]) == (0, "")
    found = MESSAGES.ReloadConfigResponse.FromString(answer["response"])
    assert found.HasField("status")
    assert (found.status.error_code, found.status.error_message) == (0, "")
    return found


async def served(rig: Rig, *models: str) -> None:
    rig.start(*models)
    for source in Recorded.made:
        source.emit(1)
    await settle()


def test_a_new_model_is_there_when_the_answer_is_and_one_left_out_goes() -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model("old"))
        reload = asyncio.ensure_future(reloading(rig).reload(request(model("new"))))
        await settle()
        assert not reload.done()
        assert [event.state for event in rig.monitor.versions("old")] == [State.END], "its going is not waited for"
        rig.source("new").emit(3)
        assert not response(await reload).metric
        assert (rig.available("new"), list(rig.core.models)) == ([3], ["new"])

    run(work())


def test_the_same_again_and_an_empty_list() -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        reload = reloading(rig)
        for _ in range(2):
            response(await reload.reload(request(model())))
        assert rig.available() == [1]
        response(await reload.reload(request()))
        await settle()
        assert (rig.available(), rig.core.models) == ([], {})
        again = asyncio.ensure_future(reload.reload(request(model())))
        await settle()
        assert not again.done(), "it is waited for anew"
        rig.source("m").emit(1)
        response(await again)
        assert rig.available() == [1]

    run(work())


def test_fields_of_this_server_s_own_come_through() -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        splits = "label_splits { label: 'l' versions { version: 1 weight: 2 } }"
        response(await reloading(rig).reload(request(model("m", f"devices: 'cpu:1' {splits}"))))
        assert rig.core.models["m"].devices == ("cpu:1",)
        assert rig.core.models["m"].splits == {"l": [(1, 2.0)]}

    run(work())


TENSORFLOW = "model_platform: 'tensorflow'"


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"", Code.INVALID_ARGUMENT, WRONG_KIND),
        (MESSAGES.ReloadConfigRequest(config={}).SerializeToString(), Code.INVALID_ARGUMENT, WRONG_KIND),
        (
            MESSAGES.ReloadConfigRequest(config={"custom_model_config": {"type_url": "t/x"}}).SerializeToString(),
            Code.INVALID_ARGUMENT,
            WRONG_KIND,
        ),
        (
            request(model(), model("n"), model("n")),
            Code.INVALID_ARGUMENT,
            "Illegal to list model n multiple times in config list",
        ),
        (
            upstreams(f"name: 'n' base_path: 'models/n' {TENSORFLOW}"),
            Code.INVALID_ARGUMENT,
            "Expected model n to have an absolute path or URI; got base_path()=models/n",
        ),
        (
            upstreams(f"name: 'n' {TENSORFLOW}"),
            Code.INVALID_ARGUMENT,
            "Expected model n to have an absolute path or URI; got base_path()=",
        ),
        (
            upstreams("name: 'm' base_path: '/m' model_platform: 'other'"),
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is other",
        ),
        (
            upstreams("name: 'm' base_path: '/m' model_platform: 'lookup_table'"),
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is "
            "lookup_table",
        ),
        (
            upstreams(f"name: 'n' base_path: '/n' model_type: TENSORFLOW {TENSORFLOW}"),
            Code.INVALID_ARGUMENT,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
            "model name is n",
        ),
        (
            upstreams("name: 'n' base_path: '/n'"),
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            "model name is n",
        ),
        (
            upstreams("name: 'n' base_path: '/n' model_type: OTHER"),
            Code.INVALID_ARGUMENT,
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            upstreams("name: 'n' base_path: '/n' model_platform: 'other'"),
            Code.INVALID_ARGUMENT,
            "Model n requests unsupported platform other",
        ),
        (
            request(model("m", label("next", 2))),
            Code.FAILED_PRECONDITION,
            "Request to assign label to version 2 of model m, which is not currently available for inference",
        ),
        (
            request(model("n", label("l", 1))),
            Code.FAILED_PRECONDITION,
            "Request to assign label to version 1 of model n, which is not currently available for inference",
        ),
        (
            upstreams(f"name: 'n' base_path: '/n' {TENSORFLOW} logging_config {{ sampling_config {{ sampling_rate: 1 }} }}"),
            Code.INVALID_ARGUMENT,
            "No request-logger-creator provided.",
        ),
    ],
)
def test_what_is_refused_changes_nothing_and_spoils_no_later_reload(data: bytes, code: Code, text: str) -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        before = rig.core.config()
        answer = await reloading(rig).reload(data)
        assert answer == {"code": int(code), "message": text, "response": b""}
        await settle()
        assert (rig.available(), rig.core.config()) == ([1], before)
        later = asyncio.ensure_future(reloading(rig).reload(request(model(), model("n"))))
        await settle()
        rig.source("n").emit(1)
        response(await later)
        assert (rig.available(), rig.available("n")) == ([1], [1])

    run(work())


@pytest.mark.parametrize("data", [b"\x0a\x7f", b"\xff", b"\x0a\x09\x0a\x07\x0a\x05\xe2\x3e\x02\xff\xff", b"\x12\x01\xff"])
def test_bytes_that_are_no_request(data: bytes) -> None:
    """The third is one for who does not know this server's own fields."""

    async def work() -> None:
        rig = Rig()
        answer = await reloading(rig).reload(data)
        assert answer["code"] == Code.INVALID_ARGUMENT
        assert answer["message"].startswith("The request is no ReloadConfigRequest: ")

    run(work())


def test_an_old_platform_s_name() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        data = request("name: 'm' base_path: '/m' model_type: TENSORFLOW source: 'plugin_sources:Recorded'")
        reload = asyncio.ensure_future(reloading(rig).reload(data))
        await settle()
        rig.source("m").emit(1)
        response(await reload)
        assert rig.core.models["m"].platform == "tensorflow"

    run(work())


def test_models_that_do_not_come_up() -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        rig.loaders["a", 7] = FakeLoader(load_error=BAD)
        reload = asyncio.ensure_future(reloading(rig).reload(request(model("a"), model("b"), model("c"))))
        await settle()
        rig.source("a").emit(7)
        rig.source("b").emit(1)
        await settle()
        assert not reload.done()
        rig.source("c").emit()
        answer = await reload
        assert (answer["code"], answer["response"]) == (Code.UNKNOWN, b"")
        assert answer["message"].startswith(
            "2 model(s) did not become available: "
            "{{{name: a version: 7} due to error: INVALID_ARGUMENT: no model in there}, {"
        )
        assert (rig.available("b"), rig.available("m")) == ([1], []), "and there is no way back"
        response(await reloading(rig).reload(request(model("a"), model("b"))))

    run(work())


def test_a_base_path_that_is_not_there_is_an_error_of_that_model(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig()
        await served(rig, model())
        path = tmp_path / "missing"
        data = request(model(), f"name: 'n' base_path: '{path}' {TENSORFLOW}")
        answer = await reloading(rig).reload(data)
        assert answer["code"] == Code.UNKNOWN
        assert f"Could not find base path {path} for servable n" in answer["message"]
        assert rig.available() == [1]
        rig.core.close()

    run(work())


def test_the_waiting_has_an_end_and_the_loading_goes_on() -> None:
    async def work() -> None:
        rig = Rig(reload_timeout=20)
        rig.start()
        rig.loaders["m", 1] = loading = FakeLoader()
        loaded = loading.hold("load")
        reload = asyncio.ensure_future(reloading(rig).reload(request(model())))
        await settle()
        rig.source("m").emit(1)
        await pass_time(19)
        assert not reload.done()
        await pass_time(2)
        answer = await reload
        text = "1 model(s) did not become available: {{model m is still being loaded}, }"
        assert (answer["code"], answer["message"]) == (Code.UNKNOWN, text)
        loaded.set()
        await settle()
        assert rig.available() == [1]

    run(work())


def test_one_that_waits_holds_up_no_other() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        reload = reloading(rig)
        slow = asyncio.ensure_future(reload.reload(request(model("slow"))))
        await settle()
        quick = asyncio.ensure_future(reload.reload(request(model("slow"), model("m"))))
        await settle()
        rig.source("m").emit(1)
        response(await quick)
        assert not slow.done()
        slow.cancel()
        await settle()
        rig.source("slow").emit(1)
        await settle()
        assert rig.available("slow") == [1]
        response(await reload.reload(request(model("m"))))
        assert list(rig.core.models) == ["m"]

    run(work())


def test_what_nobody_expected_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()

        def broken(names: Iterable[str]) -> Mapping[str, int]:
            raise OSError("no figures")

        answer = await GrpcReload(rig.core, broken).reload(request(metrics=["a"]))
        assert answer == {"code": int(Code.INTERNAL), "message": "OSError: no figures", "response": b""}
        assert "a reload failed" in caplog.text

    run(work())


def test_how_metrics_grew() -> None:
    """The first cell's number of each, once; a histogram's is no number, and what nobody knows does not grow."""
    attempts = "/tensorflow/cc/saved_model/load_attempt_count"
    requests = "/tensorflow/serving/request_count"
    latency = "/tensorflow/serving/request_latency"
    counts = {
        ("requests", ("m", "1", "s", "predict", "REST", "OK")): [5],
        ("requests", ("z", "1", "s", "predict", "REST", "OK")): [100],
        ("duration", ("m", "1", "s", "predict", "REST")): [1] * FAMILIES["duration"].words,
    }

    async def load() -> Message:
        return {"warm_up": {"source": "off", "requests": 0, "seconds": 0.0, "records": 0, "notes": []}}

    async def work() -> None:
        rig = Rig()
        rig.start()
        loads = LoadRecord()
        page = UpstreamPage(lambda: dict(counts), loads)
        names = [attempts, requests, latency, "no such metric", attempts]
        reload = asyncio.ensure_future(GrpcReload(rig.core, page.first_cells).reload(request(model(), metrics=names)))
        await settle()
        for path in ("/m/1", "/m/1", "/n/1"):
            await loads.watch(path, load())
        counts["requests", ("m", "1", "s", "predict", "REST", "OK")] = [12]
        counts["duration", ("m", "1", "s", "predict", "REST")] = [3] * FAMILIES["duration"].words
        rig.source("m").emit(1)
        found = {metric.name: metric.int64_value_increase for metric in response(await reload).metric}
        assert found == {attempts: 2, requests: 7, latency: 0, "no such metric": 0}

    run(work())


def test_a_growth_of_nothing_is_told() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start()
        page = UpstreamPage(dict, LoadRecord())
        (metric,) = response(await GrpcReload(rig.core, page.first_cells).reload(request(metrics=["x"]))).metric
        assert metric.WhichOneof("value_increase") == "int64_value_increase"

    run(work())
