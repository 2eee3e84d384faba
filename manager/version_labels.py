"""May a label be put on a version? Upstream's table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from manager.model_config import ModelConfig, Weighted
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

#: By model, by label: versions with their shares.
Routing = Mapping[str, Mapping[str, Sequence[Weighted]]]


def check_labels(
    models: Iterable[ModelConfig], present: Routing, is_available: Callable[[ServableId], bool], allow_unavailable: bool
) -> None:
    """Raises ServingError (FAILED_PRECONDITION) for the first label on a version that can't be asked for now.

    `present`: the routing in force. With `allow_unavailable` only a label that moves needs an available version, so that
    requests that have an answer today have one tomorrow. A shadow's version need not be available: nobody waits for it.
    """
    for model in models:
        labels = present.get(model.name, {})
        for label, versions in model.routing.items():
            now = {version for version, _ in labels.get(label, ())}
            for version, weight in versions:
                allowed = not weight or (allow_unavailable and (not now or version in now))
                if not allowed and not is_available(ServableId(model.name, version)):
                    text = f"Request to assign label to version {version} of model {model.name}"
                    raise ServingError(Code.FAILED_PRECONDITION, f"{text}, which is not currently available for inference")
