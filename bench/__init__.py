"""The benchmark: named topologies, each beside its floor in the same run."""
