"""The body of a predict request to the tensors of its signature, in upstream's row and columnar formats."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from frontend.request_body import Answer
from frontend.rest.json_arrays import SMALLEST_NUMBER_BODY, number_body, tensor_from_lists
from frontend.rest.json_document import parse_document, parse_exactly
from frontend.rest.json_dump import dump
from frontend.rest.json_values import elements_alike, first_unlike, is_b64, tensor_from_value, tensor_of
from frontend.rest.predict_answer import encode_answer
from frontend.rest.repeated_names import may_repeat
from frontend.rest.signature_name import signature_name
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_method_name, rest_signature
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import STRING


class PredictBody:
    """A parsed body. Its tensors wait for the signature, whose dtypes decide what the numbers are."""

    heavy = False

    __slots__ = ("_body", "_check_method", "_document", "_numbers", "_rows", "signature_name")

    def __init__(self, body: bytes, check_method: bool = False) -> None:
        """`check_method`: what --enable_signature_method_name_check says.

        Raises ServingError for what is no JSON object, and for a signature's name that is no string.
        """
        self._body = body
        self._check_method = check_method
        self._rows = True
        self._document: dict[str, Any] | None = None
        self._numbers = number_body(body) if len(body) >= SMALLEST_NUMBER_BODY else None
        if self._numbers is not None:
            self.signature_name = self._numbers.signature or DEFAULT_SIGNATURE
        else:
            self._document = parse_document(body)
            self.signature_name = signature_name(self._document)

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        """As `RequestBody` has it, with upstream's text."""
        return rest_signature(self.signature_name, signatures)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """As `RequestBody` has it, with upstream's texts. Once: what was read is forgotten then."""
        tensors, self._rows = self.tensors(signature)
        self._body, self._document, self._numbers = b"", None, None  # not to be kept while the request waits
        if self._check_method:  # only now: upstream's REST layer makes the tensors first, and then a PredictRequest of them
            check_method_name(signature)
        return tensors

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """JSON, in row format if the request's inputs, which must have been read, were."""
        return Answer(encode_answer(signature.outputs, outputs, self._rows))

    def tensors(self, signature: Signature) -> Inputs:
        """The inputs in the signature's order. Raises ServingError with upstream's texts."""
        if self._numbers is not None and len(signature.inputs) == 1:
            spec = signature.inputs[0]
            tensor = self._numbers.tensor(spec.dtype)
            if tensor is not None:
                return Inputs([tensor], self._numbers.key == "instances")
        document = self._document
        if document is None:
            document = parse_document(self._body)
        instances = document.get("instances")
        if type(instances) is list and len(signature.inputs) == 1 and "inputs" not in document:  # the usual body, quickly
            fast = tensor_from_lists(instances, signature.inputs[0].dtype)
            if fast is not None:
                return Inputs([fast], True)
        if may_repeat(self._body, document, signature.inputs):
            document = parse_exactly(self._body)
        return inputs_from_document(document, signature)


class Inputs(NamedTuple):
    """The tensors in the signature's order, and whether the request was in row format: the answer is in the same."""

    tensors: list[Tensor]
    rows: bool


def inputs_from_document(document: dict[str, Any], signature: Signature) -> Inputs:
    """Raises ServingError with upstream's texts."""
    if not signature.inputs:
        name = document.get("signature_name") or "DEFAULT"
        raise ServingError(Code.INVALID_ARGUMENT, f"Failed to get input map for signature: {name}")
    if "instances" in document:
        if "inputs" in document:
            text = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(document)} {text}")
        return Inputs(_rows(document, document["instances"], signature.inputs), True)
    if "inputs" in document:
        return Inputs(_columns(document["inputs"], signature.inputs), False)
    raise ServingError(Code.INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key")


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_b64(value)


def _columns(value: Any, specs: tuple[TensorSpec, ...]) -> list[Tensor]:
    if not _is_named(value):
        if len(specs) > 1:
            text = "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            raise ServingError(Code.INVALID_ARGUMENT, text + "tensorinfo_map")
        return [_tensor(value, specs[0])]
    tensors = []
    for spec in specs:
        if spec.alias not in value:
            raise ServingError(Code.INVALID_ARGUMENT, f"Missing named input: {spec.alias} in 'inputs' object.")
        tensors.append(_tensor(value[spec.alias], spec))
    return tensors


def _tensor(value: Any, spec: TensorSpec) -> Tensor:
    fast = tensor_from_lists(value, spec.dtype) if isinstance(value, list) else None
    return fast if fast is not None else tensor_from_value(value, spec.dtype)


def _rows(document: dict[str, Any], instances: Any, specs: tuple[TensorSpec, ...]) -> list[Tensor]:
    if not isinstance(instances, list):
        text = f"JSON Value: {dump(document)} Expecting 'instances' to be an list/array"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    if not instances:
        raise ServingError(Code.INVALID_ARGUMENT, f"JSON Value: {dump(document)} No values in 'instances' array")
    first = instances[0]
    if len(specs) > 1 and not isinstance(first, dict):
        text = "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        raise ServingError(Code.INVALID_ARGUMENT, text + "tensorinfo_map")
    if not _is_named(first):
        if len(specs) > 1:  # an object that stands for bytes: upstream takes it for a value of one input
            raise _too_few(specs)
        return [_joined(instances, specs[0], "")]
    by_alias = {spec.alias: spec for spec in specs}
    names = by_alias.keys() if "b64" not in by_alias else None  # what an object of that name alone is has to be looked at
    try:
        for index, instance in enumerate(instances):
            if type(instance) is not dict or instance.keys() != names:
                _check_names(index, instance, by_alias)
        return [_named_column(instances, spec) for spec in specs]
    except ServingError:
        short = _short_names(instances)
        if short is not None:
            return _rows(document, short, specs)
        _find_fault(instances, by_alias)
        raise


def _short_names(instances: list[Any]) -> list[Any] | None:
    """With names only up to their first zero: upstream takes them for C strings here. None where there are no zeros."""
    named = [instance for instance in instances if type(instance) is dict]
    if not any("\0" in name for name in set(chain.from_iterable(named))):
        return None
    return [_cut_names(instance) if type(instance) is dict else instance for instance in instances]


def _cut_names(instance: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed([(name.partition("\0")[0], value) for name, value in instance.items()]))


def _too_few(specs: tuple[TensorSpec, ...]) -> ServingError:
    sent = next((spec.alias for spec in specs if spec.dtype is STRING), specs[0].alias)
    aliases = sorted(spec.alias for spec in specs)
    missing = ",".join(alias for alias in aliases if alias != sent)
    text = f"input size does not match signature: 1!={len(specs)} len({{{sent}}}) != len({{{','.join(aliases)}}}). "
    return ServingError(Code.INVALID_ARGUMENT, text + f"Sent extra: {{}}. Missing but required: {{{missing}}}.")


def _named_column(instances: list[dict[str, Any]], spec: TensorSpec) -> Tensor:
    values = [instance[spec.alias] for instance in instances]
    fast = tensor_from_lists(values, spec.dtype)
    return fast if fast is not None else _joined(values, spec, f" key: {spec.alias}")


def _find_fault(instances: list[Any], by_alias: dict[str, TensorSpec]) -> None:
    """Something is wrong: raise for what is wrong first, going element by element and name by name, as upstream does."""
    shapes: dict[str, tuple[int, ...]] = {}
    _check_instance(0, instances[0], by_alias, shapes)
    if len(instances) > 1:
        behind = instances[1:]
        index = 1 + first_unlike(behind, lambda some: _alike(some, by_alias, shapes))
        _check_instance(index, instances[index], by_alias, shapes)


def _check_instance(index: int, instance: Any, by_alias: dict[str, TensorSpec], shapes: dict[str, tuple[int, ...]]) -> None:
    """`shapes`: of the instances before it; those of the first one are put there."""
    for key, value in instance.items() if _is_named(instance) else ():
        if key not in by_alias:
            break
        shapes[key] = _element(value, by_alias[key], shapes.get(key), index, f" key: {key}").shape
    _check_names(index, instance, by_alias)


def _alike(instances: list[Any], by_alias: dict[str, TensorSpec], shapes: dict[str, tuple[int, ...]]) -> bool:
    """Have all of them the inputs' names, and values of these shapes?"""
    if set(map(type, instances)) != {dict} or set(map(len, instances)) != {len(by_alias)}:
        return False
    if "b64" in by_alias and any(map(is_b64, instances)):
        return False
    for alias, spec in by_alias.items():
        try:
            values = list(map(itemgetter(alias), instances))
        except KeyError:
            return False
        if elements_alike(values, shapes[alias], spec.dtype) is None:
            return False
    return True


def _check_names(index: int, instance: Any, aliases: Collection[str]) -> None:
    if not _is_named(instance):
        text = f"Expecting object but got list at item {index} of input list"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    for key in instance:
        if key not in aliases:
            inner = f"Error: INVALID_ARGUMENT: JSON object: does not have named input: {key}"
            text = f"Failed to process element: {index} key: {key} of 'instances' list. {inner}"
            raise ServingError(Code.INVALID_ARGUMENT, text)
    if len(instance) != len(aliases):
        text = f"Failed to process element: {index} of 'instances' list. JSON object: {dump(instance)} "
        raise ServingError(Code.INVALID_ARGUMENT, f"{text}keys must be equal to: {','.join(sorted(aliases))}")


def _joined(values: list[Any], spec: TensorSpec, where: str) -> Tensor:
    """One tensor out of one value an instance, all of the first one's shape; the exact way."""
    first = _element(values[0], spec, None, 0, where)
    shape = first.shape
    if len(values) == 1 and isinstance(first.data, list):
        return tensor_of(first.data, (1, *shape), spec.dtype)
    elements = elements_alike(values, shape, spec.dtype)
    if elements is None:
        index = first_unlike(values, lambda some: elements_alike(some, shape, spec.dtype) is not None)
        if not where and _is_named(values[index]):
            text = f"Expecting value/list but got object at item {index} of input list"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        _element(values[index], spec, shape, index, where)
        raise AssertionError("An element is refused that is all right.")
    return tensor_of(elements, (len(values), *shape), spec.dtype)


def _element(value: Any, spec: TensorSpec, shape: tuple[int, ...] | None, index: int, where: str) -> Tensor:
    """The tensor of one element, which must be of the shape of those before it."""
    try:
        tensor = tensor_from_value(value, spec.dtype)
        if shape is not None:
            _check_shape(tensor.shape, shape)
    except ServingError as error:
        text = f"Failed to process element: {index}{where} of 'instances' list. Error: {error}"
        raise ServingError(Code.INVALID_ARGUMENT, text) from error
    return tensor


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    size, wanted = _size(shape), _size(expected)
    if size != wanted:
        raise ServingError(Code.INVALID_ARGUMENT, f"Expecting tensor size: {wanted} but got: {size}")
    if shape != expected:
        raise ServingError(Code.INVALID_ARGUMENT, f"Expecting shape {_show(expected)} but got: {_show(shape)}")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for dim in shape:
        size *= dim
    return size


def _show(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
