"""The nodes and functions of a serialised MetaGraphDef, read one at a time.

Parsing a graph whole would hold the interpreter lock while other versions are served, for 0.1 s and more where weights are
constants of the graph; what is read here is a few hundred bytes at a time, and large tensors are stepped over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from ringserve.protos import message_module
from workers.tf.wire import fields, values

Item = TypeVar("Item")

_GRAPH: Final = 2  # MetaGraphDef.graph_def
_NODE, _LIBRARY = 1, 2  # GraphDef.node, GraphDef.library
_FUNCTION, _GRADIENT = 1, 2  # FunctionDefLibrary.function, FunctionDefLibrary.gradient
_SIGNATURE, _BODY = 1, 3  # FunctionDef.signature, FunctionDef.node_def
_NAME: Final = 1  # OpDef.name
_FUNCTION_NAME, _GRADIENT_NAME = 1, 2  # GradientDef.function_name, GradientDef.gradient_func
_ATTRIBUTE, _ATTRIBUTE_VALUE = 5, 2  # NodeDef.attr, a map, and the value of its entries
_MAY_NAME_FUNCTIONS: Final = (1, 10)  # AttrValue.list, AttrValue.func

_LARGE: Final = 4096  # bytes of a node beyond which its tensors and texts are not worth parsing
_NODES_AT_ONCE: Final = 64  # 0.5 ms of work
_PAUSE_SECONDS: Final = 1e-5


class GraphParts:
    """The parts are views of the MetaGraphDef: they end with its memory."""

    def __init__(self, metagraph: memoryview) -> None:
        self._nodes: list[memoryview] = []
        self._functions: dict[str, memoryview] = {}
        #: The function that computes the gradient of another.
        self.gradients: dict[str, str] = {}
        for graph in values(metagraph, _GRAPH):
            for field in with_pauses(fields(graph)):
                if field.number == _NODE:
                    self._nodes.append(graph[field.value : field.end])
                elif field.number == _LIBRARY:
                    self._read_library(graph[field.value : field.end])

    def _read_library(self, library: memoryview) -> None:
        for field in with_pauses(fields(library)):
            part = library[field.value : field.end]
            if field.number == _FUNCTION:
                signature = next(values(part, _SIGNATURE), memoryview(b""))
                self._functions[_text(signature, _NAME)] = part
            elif field.number == _GRADIENT:
                self.gradients[_text(part, _FUNCTION_NAME)] = _text(part, _GRADIENT_NAME)

    def has_function(self, name: str) -> bool:
        return name in self._functions

    def nodes(self) -> Iterator[Any]:
        """The graph's own nodes as NodeDef messages, without large attributes."""
        return _parsed(self._nodes)

    def function_nodes(self, name: str) -> Iterator[Any]:
        """The nodes of a function's body. Raises KeyError when there is no such function."""
        return _parsed(values(self._functions[name], _BODY))


def _parsed(nodes: Iterable[memoryview]) -> Iterator[Any]:
    parse = message_module("tensorflow.core.framework.node_def_pb2").NodeDef.FromString
    for node in with_pauses(nodes):
        yield parse(bytes(node) if len(node) <= _LARGE else _without_large_attributes(node))


def _without_large_attributes(node: memoryview) -> bytes:
    kept = []
    for field in fields(node):
        size = field.end - field.start
        if field.number == _ATTRIBUTE and size > _LARGE and not _may_name_functions(node[field.value : field.end]):
            continue
        kept.append(bytes(node[field.start : field.end]))
    return b"".join(kept)


def _may_name_functions(entry: memoryview) -> bool:
    return any(field.number in _MAY_NAME_FUNCTIONS for value in values(entry, _ATTRIBUTE_VALUE) for field in fields(value))


def _text(message: memoryview, number: int) -> str:
    return bytes(next(values(message, number), b"")).decode(errors="replace")


def with_pauses(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with moments between them in which threads that serve can take the interpreter lock.

    A sleep, however short: letting go of the lock alone leaves others too little time to take it.
    """
    for count, item in enumerate(items, start=1):
        yield item
        if count % _NODES_AT_ONCE == 0:
            time.sleep(_PAUSE_SECONDS)
