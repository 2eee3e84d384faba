"""TensorFlow, imported without its start-up messages and kept off any GPU.

The other modules say ``from examples.quiet_tensorflow import tf``.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Send file descriptor 2 to nowhere.

    TensorFlow's native code logs straight to the descriptor before it has read TF_CPP_MIN_LOG_LEVEL. A failed
    import is still reported: the exception is printed after the descriptor is back.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


with _native_stderr_closed():
    import tensorflow as tf

    # These models train in a second on a CPU; taking a GPU would claim the memory of one that may be serving.
    tf.config.set_visible_devices([], "GPU")

tf.get_logger().setLevel("ERROR")

__all__ = ["tf"]
