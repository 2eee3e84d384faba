"""The client over gRPC: TensorFlow Serving's own messages, without protobuf."""
