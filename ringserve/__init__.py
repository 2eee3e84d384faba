"""ringserve: serves TensorFlow models from processes that share memory; a drop-in for TensorFlow Serving."""

__version__ = "0.1.0"
