"""The comparison with what else serves TensorFlow's models from Python: `python -m bench.peers`."""
