"""The client over ZeroMQ."""
