"""Which signatures change what outlives a run, by the operations that a run of them reaches.

A version is run on made-up rows before it serves. A signature that trains, or counts its calls, must not be: its variables
would no longer be those that were exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringserve.signature import Signature
from workers.tf.graph_parts import GraphParts, with_pauses
from workers.tf.operations import Operation

Find = Callable[[str], Operation]


def changing_signatures(metagraph: memoryview, signatures: Mapping[str, Signature], find: Find) -> frozenset[str]:
    """The names of the signatures of a serialised MetaGraphDef whose runs may change a variable, a table, a file…

    `find`: what is known of an operation of this name. May say so of one that never does: a branch that no input leads to
    counts as well.
    """
    graph = _Graph(GraphParts(metagraph), find)
    return frozenset(name for name, signature in signatures.items() if graph.changes(signature))


@dataclass(slots=True)
class _Work:
    """What a node does, or all nodes of a function's body together."""

    changes: bool = False
    functions: set[str] = field(default_factory=set)  # that it calls


class _Graph:
    def __init__(self, parts: GraphParts, find: Find) -> None:
        self._parts = parts
        self._find = find
        self._inputs: dict[str, tuple[str, ...]] = {}  # of each node
        self._work: dict[str, _Work] = {}  # of the nodes that may change something
        self._bodies: dict[str, _Work] = {}
        for node in parts.nodes():
            self._inputs[node.name] = tuple(node.input)
            self._add(node, work := _Work())
            if work.changes or work.functions:
                self._work[node.name] = work

    def changes(self, signature: Signature) -> bool:
        for name in with_pauses(self._reached(signature)):
            work = self._work.get(name)
            if work and (work.changes or self._any_changes(work.functions)):
                return True
        return False

    def _reached(self, signature: Signature) -> Iterator[str]:
        """The nodes between the outputs and the inputs, which stand for whatever lies behind them."""
        fed = {_tensor(spec.name) for spec in signature.inputs}
        waiting = [spec.name for spec in signature.outputs]
        seen: set[str] = set()
        while waiting:
            source = waiting.pop()
            tensor = _tensor(source)
            if tensor in fed or (name := tensor[0]) in seen:
                continue
            seen.add(name)
            yield name
            waiting += self._inputs.get(name, ())

    def _any_changes(self, functions: Iterable[str]) -> bool:
        """Does one of these functions, or one that they call, change anything?"""
        waiting = list(functions)
        seen = set(waiting)
        while waiting:
            body = self._body(waiting.pop())
            if body.changes:
                return True
            waiting += body.functions - seen
            seen |= body.functions
        return False

    def _body(self, name: str) -> _Work:
        """All nodes count: those that no output depends on are run too where they have an effect."""
        if name not in self._bodies:
            body = self._bodies[name] = _Work()
            if not self._parts.has_function(name):
                body.changes = True
                return body
            for node in self._parts.function_nodes(name):
                self._add(node, body)
                if body.changes:
                    return body
            if gradient := self._parts.gradients.get(name):
                body.functions.add(gradient)
        return self._bodies[name]

    def _add(self, node: Any, work: _Work) -> None:
        if self._parts.has_function(node.op):  # called by its name, as an operation of its own
            work.functions.add(node.op)
            _add_functions(node.attr, work.functions)
            return
        operation = self._find(node.op)
        work.changes |= operation.changes_state
        if operation.calls_functions:
            _add_functions(node.attr, work.functions)


def _add_functions(attributes: Any, functions: set[str]) -> None:
    """The functions that these attributes name, and those that the functions' own attributes name."""
    for value in attributes.values():
        named = [value.func] if value.HasField("func") else value.list.func
        for function in named:
            if function.name:
                functions.add(function.name)
            _add_functions(function.attr, functions)


def _tensor(source: str) -> tuple[str, int]:
    """The node and the index of its output: ("x", 1) for "x:1"; -1 for "^x", which waits for the node and takes nothing."""
    if source.startswith("^"):
        return source[1:], -1
    name, _, index = source.partition(":")
    return name, int(index) if index.isdecimal() else 0
