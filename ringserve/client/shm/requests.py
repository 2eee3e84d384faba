"""Operations that a worker answers, as works for the lanes that suit them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringserve.client.operations import Classify, Predict, PredictEach, Regress
from ringserve.client.shm.each_work import EachPackedWork, EachRowWork
from ringserve.client.shm.example_work import ExampleWork
from ringserve.client.shm.inputs import checked_inputs, chosen_outputs, counted_rows, form_of, packed_inputs
from ringserve.client.shm.lane import ShmLane
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.opening import Opening
from ringserve.client.shm.predict_work import PackedWork, RowsWork
from ringserve.client.shm.route import Route
from ringserve.client.shm.work import Tell, Work
from ringserve.client.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.example_request import named_classify_signature
from shm.layout import LOW

Request = Predict | PredictEach | Classify | Regress
REQUESTS: Final = (Predict, PredictEach, Classify, Regress)


#: Where an operation goes: a lane, and a work for it; or what is to be waited for first.
Place = tuple[ShmLane, Work] | Opening[ShmLane]


def placed(operation: Request, route: Route, base: ShmLane, limit: Limit, tell: Tell | None, may_open: bool = True) -> Place:
    """`base`: the route's lane; `may_open`: otherwise there is nothing to wait for.

    Raises ServingError for what can't be sent.
    """
    place: Place
    if isinstance(operation, Predict):
        place = _predict(operation, route, base, limit, tell)
    elif isinstance(operation, PredictEach):
        place = _each(operation, route, base, limit, tell, may_open)
    else:
        place = base, ExampleWork(operation, base.terms, limit, tell)
    if operation.low and isinstance(place, tuple):
        place[1].flags = LOW
    return place


def _predict(operation: Predict, route: Route, base: ShmLane, limit: Limit, tell: Tell | None) -> Place:
    terms = base.terms
    columns = terms.rows.columns(operation.inputs)
    if columns is not None:
        chosen = chosen_outputs(operation.outputs, terms.signature)
        return base, RowsWork(columns, len(columns[0]), chosen, terms, limit, tell)
    inputs = checked_inputs(operation.inputs, terms.signature)
    chosen = chosen_outputs(operation.outputs, terms.signature)
    form, rows = form_of(inputs)
    if form is not None:
        lane = route.lane_for(form)
        if lane is None:
            route.note(form)
        elif rows <= lane.terms.most_rows:  # more would hold up the ring: those go packed
            return lane, RowsWork([tensor.values for tensor in inputs], rows, chosen, lane.terms, limit, tell)  # type: ignore[misc]
    return base, PackedWork(packed_inputs(inputs, terms), counted_rows(rows), chosen, terms, limit, tell)


def _each(operation: PredictEach, route: Route, base: ShmLane, limit: Limit, tell: Tell | None, may_open: bool) -> Place:
    terms = base.terms
    inputs = checked_inputs(operation.inputs, terms.signature)
    chosen = chosen_outputs(operation.outputs, terms.signature)
    divided = [spec.alias in operation.inputs for spec in terms.signature.inputs]
    form, _ = form_of(inputs) if all(divided) else (None, 0)
    if form is not None:
        lane = route.lane_for(form)
        if lane is not None:
            return lane, EachRowWork([tensor.values for tensor in inputs], chosen, lane.terms, limit, tell)  # type: ignore[misc]
        opening = route.open_form(form) if may_open else None
        if opening is not None:
            return opening
    work = EachPackedWork(operation.count, inputs, divided, chosen, terms, limit, tell)
    packed_inputs(work.request(0), terms)  # its checks: what holds for one holds for all
    return base, work


def owned(operation: Request) -> Request:
    """With arrays that the caller can't change any more."""
    if isinstance(operation, Predict | PredictEach):
        return replace(operation, inputs={alias: _copy(tensor) for alias, tensor in operation.inputs.items()})
    return operation


def _copy(tensor: Tensor) -> Tensor:
    dtype, shape, values = tensor
    return dtype, shape, list(values) if isinstance(values, list) else values.copy()


def refused(operation: Request, error: ServingError) -> ServingError:
    """Why there is no lane for it. A signature that is not there has another error where it is asked for examples."""
    is_missing = error.code is Code.FAILED_PRECONDITION and error.message.startswith("Serving signature key ")
    if is_missing and isinstance(operation, Classify | Regress):
        try:
            named_classify_signature(operation.signature, {}, check_method=False)
        except ServingError as known:
            return known
    return error
