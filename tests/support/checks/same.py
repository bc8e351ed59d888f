"""Equality of type and value at every level; NaN equals NaN."""

from __future__ import annotations

import collections
import decimal
import functools
from typing import Any

import numpy as np
import pandas as pd


def same_dtype(a: Any, b: Any) -> bool:
    """Compare dtypes including what numpy's `==` ignores: C type, metadata, titles, alignment."""

    def said(dtype: Any) -> tuple[Any, ...]:
        return (
            type(dtype), dtype.type, dtype.num, dtype.str, dtype.names, dtype.itemsize, dtype.isalignedstruct,
            dtype.alignment, dict(dtype.metadata or {}), dtype.shape,
        )  # fmt: skip

    if a != b or said(a) != said(b):
        return False
    if a.subdtype is not None:
        return same_dtype(a.base, b.base)
    return a.names is None or all(
        same_dtype(a.fields[name][0], b.fields[name][0])
        and a.fields[name][1:] == b.fields[name][1:]
        for name in a.names
    )


def same(a: Any, b: Any) -> bool:
    """Compare type and value at every level."""
    if type(a) is not type(b):
        return False
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_freq=True, check_column_type=True)
        return a.attrs == b.attrs
    if isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b)
        return a.attrs == b.attrs
    if isinstance(a, pd.Index):
        pd.testing.assert_index_equal(a, b, exact=True)
        return getattr(a, "freq", None) == getattr(b, "freq", None)
    if isinstance(a, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(a, b)
        return True
    if isinstance(a, np.ndarray):
        if not same_dtype(a.dtype, b.dtype) or a.shape != b.shape:
            return False
        if a.flags.fnc != b.flags.fnc:  # the order of the items
            return False
        if isinstance(a, np.ma.MaskedArray):
            return same(a.data, b.data) and same(np.asarray(a.mask), np.asarray(b.mask))
        if a.dtype.names is not None:  # padding between fields is not compared
            return all(same(a[name].copy("A"), b[name].copy("A")) for name in a.dtype.names)
        if a.dtype.hasobject:
            return same(a.ravel().tolist(), b.ravel().tolist())
        return bool(a.tobytes() == b.tobytes())
    if isinstance(a, np.dtype):
        return same_dtype(a, b)
    if isinstance(a, (list, tuple, collections.deque)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(a, np.generic):
        if a.dtype.names is not None:
            return same_dtype(a.dtype, b.dtype) and same(a.item(), b.item())
        return same_dtype(a.dtype, b.dtype) and a.tobytes() == b.tobytes()
    if isinstance(a, (float, complex, decimal.Decimal)):
        return repr(a) == repr(b)
    if isinstance(a, memoryview):
        said = [(v.format, v.shape, v.readonly, v.tobytes()) for v in (a, b)]
        return said[0] == said[1]
    if isinstance(a, (set, frozenset)):
        return a == b and {type(x) for x in a} == {type(x) for x in b}
    if isinstance(a, functools.partial):
        return (a.func, a.args, a.keywords) == (b.func, b.args, b.keywords)
    if isinstance(a, BaseException):
        return same(a.args, b.args) and same(vars(a), vars(b))
    if a is pd.NaT or a is pd.NA:
        return a is b
    return bool(a == b)
