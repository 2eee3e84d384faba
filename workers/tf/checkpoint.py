"""Are a SavedModel's variables there at all?

TensorFlow takes a folder without a checkpoint for a model without variables. A folder that is still being copied then
loads, takes the place of the version before it, and fails with each request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from workers.tf.graph_parts import GraphParts, with_pauses
from workers.tf.wire import fields

_VARIABLES: Final = frozenset(("VarHandleOp", "VariableV2", "Variable", "AutoReloadVariable"))
_ASSIGNMENTS: Final = frozenset(("Assign", "AssignVariableOp"))
_COLLECTION_FIELD: Final = 4  # MetaGraphDef.collection_def, a map
_INITIALISERS: Final = ("saved_model_main_op", "legacy_init_op")  # collections that name what is run at load


def check_checkpoint(path: str, metagraph: memoryview) -> None:
    """Raises ServingError (FAILED_PRECONDITION) for a model with variables whose checkpoint is missing.

    `metagraph`: the serialised MetaGraphDef. Variables that an operation run at load assigns to need none.
    """
    index = Path(path) / "variables" / "variables.index"
    if index.exists():
        return
    nodes = {node.name: (node.op, tuple(node.input)) for node in with_pauses(GraphParts(metagraph).nodes())}
    variables = {name for name, (op, _) in nodes.items() if op in _VARIABLES}
    if not variables:
        return
    run = [nodes[name] for name in _reached(nodes, _initialisers(metagraph))]
    if variables - {inputs[0] for op, inputs in run if op in _ASSIGNMENTS}:
        text = f"The SavedModel has variables, and their file is missing: {index}"
        raise ServingError(Code.FAILED_PRECONDITION, text)


def _initialisers(metagraph: memoryview) -> list[str]:
    """The names of the operations that are run at load."""
    part = b"".join(bytes(metagraph[f.start : f.end]) for f in fields(metagraph) if f.number == _COLLECTION_FIELD)
    collections = message_module("tensorflow.core.protobuf.meta_graph_pb2").MetaGraphDef.FromString(part).collection_def
    return [name for key in _INITIALISERS if key in collections for name in collections[key].node_list.value]


def _reached(nodes: Mapping[str, tuple[str, tuple[str, ...]]], names: Iterable[str]) -> set[str]:
    """These nodes and all that they depend on."""
    waiting, seen = list(names), set[str]()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            waiting += nodes[name][1]
    return seen
