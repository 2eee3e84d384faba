"""gRPC: TensorFlow Serving's services, and the standard ones."""
