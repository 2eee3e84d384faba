"""ZeroMQ: MessagePack messages on a ROUTER socket, for clients to which microseconds matter. docs/zmq.md has the format."""
