"""The light client: numpy and what the protocol of its URL needs, nothing of TensorFlow or protobuf.

`ringserve.client.async_client` has the one for asyncio, which programs without it need not load.
"""

from ringserve.client.answers import Class, Classification, Metadata, Prediction, Predictions, Regression, VersionState
from ringserve.client.client import Client
from ringserve.client.prediction_stream import PredictionStream
from ringserve.client.slot import Slot
from ringserve.client.tls import Tls

__all__ = [
    "Class",
    "Classification",
    "Client",
    "Metadata",
    "Prediction",
    "PredictionStream",
    "Predictions",
    "Regression",
    "Slot",
    "Tls",
    "VersionState",
]
