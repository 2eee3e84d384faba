"""Within which limits a queue's batches are, by the server's flags, the version's parameters and what its trial showed."""

from __future__ import annotations

from ringserve.batching_parameters import BatchingParameters
from ringserve.options import ServerOptions
from workers.limits import Limits
from workers.probe import Report

_MICROSECOND = 1000  # ns
_MOST_BYTES = 64 << 20  # of packed requests in a batch, where no parameters say how many rows it may have


def limits_of(report: Report, parameters: BatchingParameters | None, options: ServerOptions) -> Limits:
    """`parameters`: the version's, None where it has none."""
    mode, by_deadline = options.batching_mode, options.order == "edf"
    if parameters is not None:
        return _by_parameters(report, parameters, options, by_deadline)
    if mode != "adaptive" or not report.batched:
        return Limits(joinable=False, by_deadline=by_deadline)
    linger = options.max_linger_micros * _MICROSECOND
    return Limits(most_rows=report.most_rows, linger=linger, by_deadline=by_deadline, most_bytes=_MOST_BYTES)


def _by_parameters(report: Report, parameters: BatchingParameters, options: ServerOptions, by_deadline: bool) -> Limits:
    """Upstream batches whatever it is given. Only where it is known that it can't be, requests run one by one here."""
    timeout = parameters.batch_timeout_micros * _MICROSECOND
    is_static = options.batching_mode == "static"
    return Limits(
        most_rows=parameters.max_execution_batch_size if report.has_rows else 1,
        most_request_rows=parameters.max_batch_size,
        timeout=timeout if is_static else 0,
        linger=0 if is_static else min(options.max_linger_micros * _MICROSECOND, timeout),
        sizes=parameters.allowed_batch_sizes if report.has_rows else (),
        pad=parameters.pad_variable_length_inputs,
        split=parameters.enable_large_batch_splitting and report.has_rows,
        by_deadline=by_deadline,
        by_parameters=True,
        joinable=report.has_rows,
    )
