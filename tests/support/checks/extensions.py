"""Frames with an arbitrary payload in an extension, as no encoder would write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lambdamap import _codec
from lambdamap.shipping.kinds import parts, stdlib

__all__ = ["Ext", "index", "read", "refused"]


class Ext:
    """An extension with an arbitrary payload."""

    def __init__(self, ext: int, *content: Any) -> None:
        self.ext, self.content = ext, content


stdlib.EXACT[Ext] = lambda value: (value.ext, value.content)


def index(*values: Any, dtype: str = "<i8") -> Ext:
    """Return a pandas index of these values."""
    data = np.array(values, dtype)
    return Ext(
        parts.PANDAS,
        "index",
        ("np", Ext(parts.ARRAY, dtype, (len(data),), "C", data.tobytes())),
        None,
        None,
    )


def read(value: Any, **options: Any) -> Any:
    """Encode the value, and decode it with these options."""
    return _codec.decode(_codec.encode(value, compression=False), **options)


def refused(value: Any, **options: Any) -> str:
    """Return the message of the error that reading the value raises."""
    with pytest.raises(_codec.DecodeFailure) as caught:
        read(value, **options)
    return str(caught.value)
