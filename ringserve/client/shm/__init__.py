"""The client in shared memory: lanes of its own to the workers of a server on the same machine."""
