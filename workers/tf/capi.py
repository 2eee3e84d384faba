"""TensorFlow's C API through ctypes: the stable interface that the Go, Java and Rust bindings use.

The shared libraries are those inside the tensorflow wheel. Calls that may take time release the interpreter lock.
"""

from __future__ import annotations

import ctypes as c
import os
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

from ringserve.errors import Code, ServingError
from ringserve.protos import tensorflow_folder

Pointer = c.c_void_p


class Buffer(c.Structure):
    """TF_Buffer: bytes, and how to free them."""

    data: Any
    length: int
    deallocate: Any

    _fields_ = (("data", c.c_void_p), ("length", c.c_size_t), ("deallocate", c.c_void_p))

    def free(self) -> None:
        """Give the bytes back that a call has put here, if it has."""
        if self.data:
            c.CFUNCTYPE(None, c.c_void_p, c.c_size_t)(self.deallocate)(self.data, self.length)
            self.data = None


class Output(c.Structure):
    """TF_Output: output `index` of an operation."""

    _fields_ = (("operation", c.c_void_p), ("index", c.c_int))


_P, _I, _S, _L = c.c_void_p, c.c_int, c.c_size_t, c.c_int64
_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {  # name: result, arguments…
    "TF_Version": (c.c_char_p,),
    "TF_NewStatus": (_P,),
    "TF_DeleteStatus": (None, _P),
    "TF_GetCode": (_I, _P),
    "TF_Message": (c.c_char_p, _P),
    "TF_NewGraph": (_P,),
    "TF_DeleteGraph": (None, _P),
    "TF_NewSessionOptions": (_P,),
    "TF_DeleteSessionOptions": (None, _P),
    "TF_SetConfig": (None, _P, c.c_char_p, _S, _P),
    "TF_LoadSessionFromSavedModel": (
        _P, _P, _P, c.c_char_p, c.POINTER(c.c_char_p), _I, _P, c.POINTER(Buffer), _P,
    ),
    "TF_CloseSession": (None, _P, _P),
    "TF_DeleteSession": (None, _P, _P),
    "TF_GraphOperationByName": (_P, _P, c.c_char_p),
    "TF_GraphGetOpDef": (None, _P, c.c_char_p, c.POINTER(Buffer), _P),
    "TF_NewTensor": (_P, _I, _P, _I, _P, _S, _P, _P),
    "TF_DeleteTensor": (None, _P),
    "TF_TensorData": (_P, _P),
    "TF_TensorByteSize": (_S, _P),
    "TF_TensorType": (_I, _P),
    "TF_NumDims": (_I, _P),
    "TF_Dim": (_L, _P, _I),
    # Arrays and addresses alike: for those, void pointers are converted quickest.
    "TF_SessionRun": (None, _P, _P, _P, _P, _I, _P, _P, _I, _P, _I, _P, _P),
}  # fmt: skip


#: These only look something up: letting go of the interpreter lock and taking it again would be most of their time.
_GETTERS: Final = frozenset(("TF_GetCode", "TF_NumDims", "TF_Dim", "TF_TensorData", "TF_TensorByteSize", "TF_TensorType"))


@cache
def tensorflow() -> Any:
    """The loaded library: an attribute per function, without the prefix `TF_`. Takes 0.4 s the first time.

    Raises ServingError when TensorFlow isn't installed or doesn't fit this machine.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and worse
    try:
        folder = tensorflow_folder()
        # RTLD_LOCAL, the default: with RTLD_GLOBAL a later `import numpy.random` crashes on clashing symbols.
        paths = [str(folder / name) for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")]
        libraries = [c.CDLL(path) for path in paths]
        holding = [c.PyDLL(path) for path in paths]
    except (OSError, ImportError) as error:
        raise ServingError(Code.FAILED_PRECONDITION, f"TensorFlow can't be loaded: {error}") from error
    functions = SimpleNamespace()
    for name, (result, *arguments) in _PROTOTYPES.items():
        of = holding if name in _GETTERS else libraries
        function = next((getattr(library, name) for library in reversed(of) if hasattr(library, name)), None)
        if function is None:
            raise ServingError(Code.FAILED_PRECONDITION, f"this TensorFlow has no {name}; 2.20 or newer is needed")
        function.restype, function.argtypes = result, arguments
        setattr(functions, name.removeprefix("TF_"), function)
    return functions


def _function_without_effect() -> c.c_void_p:
    """A C function that may stand as a tensor's deallocator where somebody else owns the memory.

    A Python callback would take the interpreter lock once a tensor; `getpid` ignores its arguments and is cheap.
    """
    return c.cast(c.CDLL(None).getpid, c.c_void_p)


KEEP: Final = _function_without_effect()


class Status:
    """TF_Status: the outcome of a call."""

    def __init__(self) -> None:
        self.pointer = tensorflow().NewStatus()

    def check(self) -> None:
        """Raises ServingError with TensorFlow's code and text unless the last call went well."""
        code = tensorflow().GetCode(self.pointer)
        if code:
            raise ServingError(Code(code), tensorflow().Message(self.pointer).decode(errors="replace"))

    def __del__(self) -> None:
        tensorflow().DeleteStatus(self.pointer)
