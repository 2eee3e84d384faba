"""TFRecord files, read as TensorFlow's reader reads them, but believing no length.

Each record: u64 length, u32 masked CRC-32C of these eight bytes, the data, u32 masked CRC-32C of the data; little-endian.
"""

from __future__ import annotations

import logging
import os
import stat
import struct
from collections.abc import Iterator
from typing import Final

import google_crc32c

from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<QI")
_CHECKSUM: Final = struct.Struct("<I")
_LENGTH_BYTES: Final = 8
_MASK: Final = 0xA282EAD8


def read_records(path: str) -> Iterator[bytes]:
    """The records, one at a time. A rest too short for a record's head counts as the end, as it does for TensorFlow.

    Raises ServingError: DATA_LOSS, with TensorFlow's text, for what is not a record; what the system says when the file
    can't be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a FIFO would wait for a writer
            raise ServingError(Code.FAILED_PRECONDITION, f"{path} is not a regular file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            at = 0
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                length, checksum = _HEAD.unpack(head)
                if checksum != masked_crc32c(head[:_LENGTH_BYTES]):
                    raise _corrupted(at)
                at_data = at + _HEAD.size
                if length + _CHECKSUM.size > size - at_data:
                    raise _truncated(at)
                data, tail = file.read(length), file.read(_CHECKSUM.size)
                if len(tail) != _CHECKSUM.size:  # the file has become shorter
                    raise _truncated(at)
                if _CHECKSUM.unpack(tail)[0] != masked_crc32c(data):
                    raise _corrupted(at_data)
                yield data
                at = at_data + length + _CHECKSUM.size
            if head:
                _logger.warning("%s: the last %d bytes are too few for a record and are ignored", path, len(head))
    except OSError as error:
        code = Code.PERMISSION_DENIED if isinstance(error, PermissionError) else Code.UNKNOWN
        raise ServingError(code, f"{path}: {error.strerror}") from error


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecords hold it: turned by 15 bits and shifted, so that it can be checksummed itself."""
    checksum: int = google_crc32c.value(data)
    return (((checksum >> 15) | (checksum << 17)) + _MASK) & 0xFFFFFFFF


def _corrupted(at: int) -> ServingError:
    doubt = "" if at else " (Is this even a TFRecord file?)"
    return ServingError(Code.DATA_LOSS, f"corrupted record at {at}{doubt}")


def _truncated(at: int) -> ServingError:
    # The lone quotation mark is TensorFlow's.
    return ServingError(Code.DATA_LOSS, f"truncated record at {at}' failed with Read less bytes than requested")
