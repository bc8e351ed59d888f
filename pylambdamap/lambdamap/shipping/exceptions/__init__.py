"""Exceptions as data: their state is read and set without running any code of their class.

The state of an exception is its class, its ``args``, its own ``__dict__``, its slots, the fields of
the built-in class that it extends, and the exceptions that it refers to: the members of a group,
``__cause__``, ``__context__``, and those among its arguments and attributes. It is sent as a list of
*nodes*, the exception itself first, that refer to each other by index: each exception occurs once,
however many refer to it.

There are two uses. A *value* (an item or a result, `reduce` and `restore`) is rebuilt exactly or
refused, like all values. Of an exception that f *raised* (`pack` and `unpack`), each part is encoded
in a frame of its own; what cannot be sent is left out, and a note says so. If the exception itself
cannot be rebuilt, a `stand_in` replaces it: a RemoteError that is also the nearest base class found
here.
"""

from lambdamap.shipping.exceptions.build import restore, unpack
from lambdamap.shipping.exceptions.classes import UNPACKED_BYTES, Find
from lambdamap.shipping.exceptions.nodes import pack, reduce
from lambdamap.shipping.exceptions.standins import complete, stand_in

__all__ = [
    "UNPACKED_BYTES", "Find", "complete", "pack", "reduce", "restore", "stand_in", "unpack",
]  # fmt: skip
