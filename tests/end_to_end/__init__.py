"""Tests of the real commands as processes, on real sockets."""
