"""The light client: numpy and grpcio, nothing of TensorFlow or protobuf."""

from ringserve.client.answers import Class, Classification, Metadata, Prediction, Regression, VersionState
from ringserve.client.client import Client
from ringserve.client.prediction_stream import PredictionStream
from ringserve.client.tls import Tls

__all__ = [
    "Class",
    "Classification",
    "Client",
    "Metadata",
    "Prediction",
    "PredictionStream",
    "Regression",
    "Tls",
    "VersionState",
]
