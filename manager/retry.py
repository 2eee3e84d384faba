"""How often, and how far apart, a failed load is tried again."""

from __future__ import annotations

from typing import NamedTuple

from ringserve.options import ServerOptions


class Retry(NamedTuple):
    """At most `most` more attempts, `seconds` apart."""

    most: int
    seconds: float

    @classmethod
    def from_options(cls, options: ServerOptions) -> Retry:
        """As upstream reads its flags: -1 retries is none, a negative interval no pause."""
        return cls(max(options.max_num_load_retries, 0), max(options.load_retry_interval_micros, 0) / 1e6)
