"""Which signatures change state: in graphs made for it, and in the models as TensorFlow exports them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.protos import message_module
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME
from workers.tf.capi import tensorflow
from workers.tf.graph_parts import GraphParts
from workers.tf.metagraph import read_signatures
from workers.tf.operations import UNKNOWN, Operation, Operations
from workers.tf.state_changes import changing_signatures

ROOT = Path(__file__).resolve().parents[3]
MESSAGES = message_module("tensorflow.core.protobuf.meta_graph_pb2")
SAVED_MODEL = message_module("tensorflow.core.protobuf.saved_model_pb2")
KNOWN = {
    "Plain": Operation(changes_state=False, calls_functions=False),
    "Write": Operation(changes_state=True, calls_functions=False),
    "Call": Operation(changes_state=False, calls_functions=True),
}


def find(name: str) -> Operation:
    return KNOWN.get(name, UNKNOWN)


class Graph:
    """A MetaGraphDef under construction."""

    def __init__(self) -> None:
        self.message = MESSAGES.MetaGraphDef()
        self.library = self.message.graph_def.library

    def node(self, name: str, operation: str, *inputs: str) -> Any:
        return self.message.graph_def.node.add(name=name, op=operation, input=inputs)

    def function(self, name: str, *operations: str) -> list[Any]:
        """The nodes of a new function's body, none of which is its output."""
        function = self.library.function.add()
        function.signature.name = name
        return [function.node_def.add(name=f"node_{index}", op=each) for index, each in enumerate(operations)]

    def changes(self, outputs: Sequence[str], inputs: Sequence[str] = ()) -> bool:
        """Does a signature with these tensors change state?"""
        specs = (tuple(TensorSpec(name, name, BY_NAME["float"], ()) for name in names) for names in (inputs, outputs))
        data = memoryview(self.message.SerializeToString())
        return changing_signatures(data, {"it": Signature("it", "", *specs)}, find) == {"it"}


def test_only_what_the_outputs_need_counts() -> None:
    graph = Graph()
    graph.node("x", "Plain")
    graph.node("variable", "Plain")
    graph.node("assign", "Write", "variable", "x")
    graph.node("y", "Plain", "x", "variable:0")
    graph.node("updated", "Plain", "assign:1")
    assert not graph.changes(["y:0"], ["x:0"])
    assert graph.changes(["updated:0"], ["x:0"])
    assert graph.changes(["y:0", "updated:0"])
    assert not graph.changes([])


def test_a_node_that_is_only_waited_for_counts() -> None:
    graph = Graph()
    graph.node("assign", "Write")
    graph.node("y", "Plain", "^assign")
    assert graph.changes(["y:0"])


def test_what_lies_behind_an_input_does_not_run() -> None:
    graph = Graph()
    graph.node("dequeue", "Write")
    graph.node("y", "Plain", "dequeue")
    graph.node("second", "Plain", "dequeue:1")
    graph.node("after", "Plain", "dequeue", "^dequeue")
    assert graph.changes(["y:0"])
    assert not graph.changes(["y:0"], ["dequeue:0"])
    assert not graph.changes(["dequeue:0"], ["dequeue:0"])
    assert graph.changes(["second:0"], ["dequeue:0"]), "another output of the node is computed"
    assert graph.changes(["after:0"], ["dequeue:0"]), "the node is waited for"


def test_a_loop_ends() -> None:
    graph = Graph()
    graph.node("merge", "Plain", "enter", "next")
    graph.node("next", "Plain", "merge")
    graph.node("enter", "Plain")
    assert not graph.changes(["next:0"])


def test_tensors_that_are_not_there() -> None:
    graph = Graph()
    graph.node("y", "Plain", "gone")
    assert not graph.changes(["y:0", "lost:0", "odd:one", ""], ["none:x"])


def test_all_nodes_of_a_function_count() -> None:
    graph = Graph()
    graph.function("pure", "Plain", "Plain")
    graph.function("writes", "Plain", "Write")
    for name in ("pure", "writes"):
        graph.node(f"call_{name}", "Call").attr["f"].func.name = name
    assert not graph.changes(["call_pure:0"])
    assert graph.changes(["call_writes:0"])


def test_functions_in_functions_in_lists_and_in_functions_attributes() -> None:
    graph = Graph()
    graph.function("writes", "Write")
    (inner,) = graph.function("branch", "Call")
    inner.attr["f"].func.name = "writes"
    graph.function("pure", "Plain")
    branches = graph.node("case", "Call").attr["branches"].list.func
    branches.add(name="pure")
    branches.add(name="branch")
    given_to = graph.node("map", "Call").attr["f"].func
    given_to.name = "pure"
    given_to.attr["g"].func.name = "branch"
    graph.node("bound", "Call").attr["f"].func.name = "pure"
    assert graph.changes(["case:0"])
    assert graph.changes(["map:0"])
    assert not graph.changes(["bound:0"])


def test_a_function_may_be_an_operation_of_its_own() -> None:
    graph = Graph()
    graph.function("writes", "Write")
    graph.function("pure", "Plain")
    (body,) = graph.function("applies", "Plain")
    body.attr["f"].placeholder = "f"
    graph.node("named", "writes")
    graph.node("fine", "applies").attr["f"].func.name = "pure"
    graph.node("given", "applies").attr["f"].func.name = "writes"
    assert graph.changes(["named:0"])
    assert not graph.changes(["fine:0"])
    assert graph.changes(["given:0"])


@pytest.mark.parametrize("operation", ["Plain", "Write"])
def test_functions_that_call_each_other(operation: str) -> None:
    graph = Graph()
    for one, other in (("even", "odd"), ("odd", "even")):
        call, *_ = graph.function(one, "Call", *([operation] if one == "odd" else []))
        call.attr["f"].func.name = other
    for start in ("odd", "even"):
        graph.node(f"from_{start}", "Call").attr["f"].func.name = start
        assert graph.changes([f"from_{start}:0"]) == (operation == "Write")


def test_a_functions_gradient_counts() -> None:
    graph = Graph()
    graph.function("forward", "Plain")
    graph.function("backward", "Write")
    graph.node("y", "Call").attr["f"].func.name = "forward"
    assert not graph.changes(["y:0"])
    graph.library.gradient.add(function_name="forward", gradient_func="backward")
    assert graph.changes(["y:0"])


def test_what_nobody_knows_counts() -> None:
    graph = Graph()
    graph.node("odd", "FromALibraryThatIsNotHere")
    graph.node("call", "Call").attr["f"].func.name = "not_there"
    graph.node("none", "Call").attr["f"].func.name = ""
    assert graph.changes(["odd:0"])
    assert graph.changes(["call:0"])
    assert not graph.changes(["none:0"])


def test_large_attributes_are_stepped_over_and_functions_found_behind_them() -> None:
    graph = Graph()
    graph.function("writes", "Write")
    constant = graph.node("constant", "Plain")
    constant.attr["value"].tensor.tensor_content = bytes(100_000)
    constant.attr["dtype"].type = 1
    for name, size in (("a", 100_000), ("z", 10)):
        call = graph.node(f"call_{name}", "Call", "constant")
        call.attr["module"].s = bytes(100_000)
        call.attr["f"].func.name = "writes"
        call.attr["f"].func.attr["text"].s = bytes(size)
    nodes = {node.name: node for node in GraphParts(memoryview(graph.message.SerializeToString())).nodes()}
    assert set(nodes["constant"].attr) == {"dtype"}
    assert list(nodes["call_z"].input) == ["constant"]
    assert not graph.changes(["constant:0"])
    assert graph.changes(["call_a:0"])
    assert graph.changes(["call_z:0"])


def test_long_graphs_are_read_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("workers.tf.graph_parts.time.sleep", pauses.append)
    graph = Graph()
    graph.function("long", *["Plain"] * 1000)
    graph.node("call", "Call").attr["f"].func.name = "long"
    for index in range(1000):
        graph.node(f"node_{index}", "Plain", f"node_{index - 1}" if index else "call")
    assert not graph.changes(["node_999:0"])
    assert len(pauses) >= 4 * (1000 // 64), "for the walk over the nodes, parsing them, the function's, and the way back"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[list[tuple[int, bool]]], set[int], int]:
    """The operations, the inputs as (node, only waited for), the fed nodes, and the output."""
    size = draw(st.integers(1, 8))
    numbers = st.integers(0, size - 1)
    operations = draw(st.lists(st.sampled_from(["Plain", "Plain", "Write"]), min_size=size, max_size=size))
    inputs = draw(st.lists(st.lists(st.tuples(numbers, st.booleans()), max_size=3), min_size=size, max_size=size))
    return operations, inputs, draw(st.sets(numbers, max_size=3)), draw(numbers)


@given(graphs())
def test_any_graph(drawn: tuple[list[str], list[list[tuple[int, bool]]], set[int], int]) -> None:
    operations, inputs, fed, output = drawn
    graph = Graph()
    for index, (operation, sources) in enumerate(zip(operations, inputs, strict=True)):
        graph.node(f"n{index}", operation, *[f"^n{source}" if waits else f"n{source}" for source, waits in sources])
    run = set() if output in fed else {output}
    while more := {source for node in run for source, waits in inputs[node] if waits or source not in fed} - run:
        run |= more
    expected = any(operations[node] == "Write" for node in run)
    assert graph.changes([f"n{output}:0"], [f"n{node}:0" for node in sorted(fed)]) == expected


def changing(file: Path) -> set[str]:
    saved = SAVED_MODEL.SavedModel.FromString(file.read_bytes())
    data = memoryview(saved.meta_graphs[0].SerializeToString())
    graph = tensorflow().NewGraph()
    try:
        found = changing_signatures(data, read_signatures(data)[0], Operations(graph).find)
    finally:
        tensorflow().DeleteGraph(graph)
    return {name for name in found if not name.startswith("__saved_model")}


def test_the_catalogues_models(models: Path) -> None:
    found = {}
    for file in sorted(models.glob("*/*/saved_model.pb")):
        if file.parent.parent.name != "broken" and (names := changing(file)):
            found[f"{file.parent.parent.name}/{file.parent.name}"] = names
    assert found == {
        "stateful_counter/1": {"serving_default"},
        "keeps_input/1": {"serving_default"},
        "keeps_positive/1": {"serving_default"},
        "trains/1": {"train"},
        "table/1": {"put"},
    }


def test_upstreams_own_models_of_both_generations() -> None:
    """With variables by reference, parsed examples and files of assets."""
    files = sorted((ROOT / "tests/data").glob("*/*/saved_model.pb"))
    assert len(files) >= 5
    assert [changing(file) for file in files] == [set()] * len(files)
