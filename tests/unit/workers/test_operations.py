"""What is said of TensorFlow's operations, against its registry."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from typing import Any

import pytest

from ringserve.protos import message_module, tensorflow_folder
from workers.tf.capi import Buffer, tensorflow
from workers.tf.operations import HARMLESS, UNKNOWN, WRITING, Operation, Operations, operation

CHANGING = [
    "Assign", "AssignAdd", "AssignVariableOp", "AssignAddVariableOp", "ResourceScatterAdd", "ScatterNdUpdate",
    "ResourceStridedSliceAssign", "ResourceApplyAdam", "ApplyGradientDescent", "ResourceSparseApplyFtrl", "CountUpTo",
    "LookupTableInsertV2", "LookupTableImportV2", "LookupTableRemoveV2", "InitializeTableV2", "QueueEnqueueV2",
    "QueueDequeueManyV2", "BarrierInsertMany", "Stage", "SaveV2", "MergeV2Checkpoints", "WriteFile", "PyFunc", "EagerPyFunc",
    "AccumulatorApplyGradient", "WriteSummary", "StatefulUniform", "RngReadAndSkip", "DestroyResourceOp", "InplaceUpdate",
    "LearnedUnigramCandidateSampler", "IteratorGetNext",
]  # fmt: skip
LEAVING_ALL = [
    "MatMul", "Identity", "Placeholder", "VarHandleOp", "ReadVariableOp", "VariableV2", "ResourceGather",
    "LookupTableFindV2", "RandomUniform", "StatelessRandomUniformV2", "TensorListPushBack", "TensorArrayWriteV3", "Assert",
    "ParseExampleV2",
]  # fmt: skip
CALLING = ["StatefulPartitionedCall", "PartitionedCall", "If", "StatelessIf", "While", "Case", "MapDataset", "BatchFunction"]


@pytest.fixture(name="registry", scope="module")
def _registry() -> dict[str, Any]:
    """All OpDefs by name."""
    tensorflow()
    all_operations = c.CDLL(str(tensorflow_folder() / "libtensorflow_cc.so.2")).TF_GetAllOpList
    all_operations.restype = c.POINTER(Buffer)
    buffer = all_operations().contents
    raw = c.string_at(buffer.data, buffer.length)
    buffer.free()
    operations = message_module("tensorflow.core.framework.op_def_pb2").OpList.FromString(raw).op
    return {definition.name: definition for definition in operations}


@pytest.fixture(name="operations")
def _operations() -> Iterator[Operations]:
    graph = tensorflow().NewGraph()
    yield Operations(graph)
    tensorflow().DeleteGraph(graph)


def is_suspect(definition: Any) -> bool:
    return definition.is_stateful or any(argument.is_ref for argument in definition.input_arg)


def test_every_name_listed_is_an_operation_that_the_registry_alone_gets_wrong(registry: dict[str, Any]) -> None:
    assert (HARMLESS | WRITING) - set(registry) == set()
    assert {name for name in HARMLESS if not is_suspect(registry[name])} == set()
    assert {name for name in WRITING if is_suspect(registry[name])} == set()


def test_all_that_take_a_resource_are_suspects(registry: dict[str, Any]) -> None:
    """A writer that the registry does not mark at all would go unseen."""
    resource = 20
    takers = {name for name, one in registry.items() if any(argument.type == resource for argument in one.input_arg)}
    assert len(takers) > 100
    assert {name for name in takers if not is_suspect(registry[name])} == set()


@pytest.mark.parametrize("name", CHANGING)
def test_what_changes_state(operations: Operations, name: str) -> None:
    assert operations.find(name).changes_state
    assert operations.find(name) is not UNKNOWN


@pytest.mark.parametrize("name", LEAVING_ALL)
def test_what_does_not(operations: Operations, name: str) -> None:
    assert operations.find(name) == Operation(changes_state=False, calls_functions=False)


@pytest.mark.parametrize("name", CALLING)
def test_what_its_functions_decide(operations: Operations, name: str) -> None:
    assert operations.find(name) == Operation(changes_state=False, calls_functions=True)


def test_an_operation_that_nobody_knows(operations: Operations) -> None:
    assert operations.find("NoSuchOperation") is UNKNOWN


def test_a_look_up_says_what_the_definition_says(registry: dict[str, Any], operations: Operations) -> None:
    for name in (*CHANGING, *LEAVING_ALL, *CALLING):
        assert operations.find(name) == operation(registry[name]), name
