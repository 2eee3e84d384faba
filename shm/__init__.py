"""Shared-memory lanes between front ends and workers. Imports nothing else of this project."""
