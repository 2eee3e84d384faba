"""Predict bodies' values to tensors one by one, as upstream does: what looking at many at once must give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from frontend.rest.json_dump import dump
from frontend.rest.json_values import FLOATS, INTEGERS, decode_base64, is_b64, json_type, tensor_of, text_bytes
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.signature import TensorSpec
from ringserve.tensor import STRING, DType


def refused(text: str, code: Code = Code.INVALID_ARGUMENT) -> ServingError:
    return ServingError(code, text)


def one_tensor(value: Any, dtype: DType) -> Tensor:
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    return tensor_of(list(_elements(value, tuple(shape), 0, dtype)), tuple(shape), dtype)


def _elements(value: Any, shape: tuple[int, ...], level: int, dtype: DType) -> Iterator[Any]:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            text = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
            raise refused(f"JSON Value: {dump(value)} {text}")
        yield _element(value, dtype)
        return
    if level >= rank:
        raise refused(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        text = f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        raise refused(text)
    for item in value:
        yield from _elements(item, shape, level + 1, dtype)


def _element(value: Any, dtype: DType) -> Any:
    if dtype is STRING:
        if isinstance(value, str):
            return text_bytes(value)
        if is_b64(value):
            return decode_base64(value["b64"])
        if isinstance(value, dict):
            raise refused(f"JSON Value: {dump(value)} not formatted correctly for base64 data")
    elif dtype.name in FLOATS:
        if type(value) in (int, float):
            return value
    elif dtype.name in INTEGERS:
        low, high = INTEGERS[dtype.name]
        if type(value) is int and low <= value <= high:
            return value
    elif dtype.name == "bool":
        if type(value) is bool:
            return value
    else:
        raise refused(f"Conversion of JSON Value: {dump(value)} to type: {dtype.name}", Code.UNIMPLEMENTED)
    raise refused(f"JSON Value: {dump(value)} Type: {json_type(value)} is not of expected type: {dtype.name}")


def rows(instances: list[Any], specs: tuple[TensorSpec, ...]) -> list[Tensor]:
    """Of instances without zeros in their names; the first one says whether they are named."""
    if not isinstance(instances[0], dict) or is_b64(instances[0]):
        return [_joined(instances, specs[0], _plain, "")]
    shapes: dict[str, tuple[int, ...]] = {}
    by_alias = {spec.alias: spec for spec in specs}
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict) or is_b64(instance):
            raise refused(f"Expecting object but got list at item {index} of input list")
        for key, value in instance.items():
            where = f"Failed to process element: {index} key: {key} of 'instances' list. "
            if key not in by_alias:
                raise refused(f"{where}Error: INVALID_ARGUMENT: JSON object: does not have named input: {key}")
            shapes[key] = _instance(value, by_alias[key], shapes.get(key), index, f" key: {key}").shape
        if len(instance) != len(specs):
            text = f"Failed to process element: {index} of 'instances' list. JSON object: {dump(instance)} "
            raise refused(f"{text}keys must be equal to: {','.join(sorted(by_alias))}")
    return [
        _joined([instance[spec.alias] for instance in instances], spec, lambda _, value: value, f" key: {spec.alias}")
        for spec in specs
    ]


def _plain(index: int, instance: Any) -> Any:
    if isinstance(instance, dict) and not is_b64(instance):
        raise refused(f"Expecting value/list but got object at item {index} of input list")
    return instance


def _joined(instances: list[Any], spec: TensorSpec, pick: Callable[[int, Any], Any], where: str) -> Tensor:
    elements: list[Any] = []
    shape: tuple[int, ...] | None = None
    for index, instance in enumerate(instances):
        tensor = _instance(pick(index, instance), spec, shape, index, where)
        shape = tensor.shape
        elements.extend(tensor.data if isinstance(tensor.data, list) else tensor.data.reshape(-1).tolist())
    assert shape is not None
    return tensor_of(elements, (len(instances), *shape), spec.dtype)


def _instance(value: Any, spec: TensorSpec, shape: tuple[int, ...] | None, index: int, where: str) -> Tensor:
    try:
        tensor = one_tensor(value, spec.dtype)
        if shape is not None and np.prod(shape) != np.prod(tensor.shape):
            raise refused(f"Expecting tensor size: {int(np.prod(shape))} but got: {int(np.prod(tensor.shape))}")
        if shape is not None and shape != tensor.shape:
            shown = [",".join(map(str, one)) for one in (shape, tensor.shape)]
            raise refused(f"Expecting shape [{shown[0]}] but got: [{shown[1]}]")
    except ServingError as error:
        raise refused(f"Failed to process element: {index}{where} of 'instances' list. Error: {error}") from error
    return tensor
