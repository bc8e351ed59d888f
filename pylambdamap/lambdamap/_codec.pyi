from collections.abc import Callable, Iterator
from typing import Any, final

from lambdamap.shipping.lookup import Names

WIRE_VERSION: int
PROTOCOL: int

# The numbers of docs/wire-format.md, which the C sources declare: extension types, kinds of column, and
# kinds of extension 4.
EXT_LIST: int
EXT_BIG_INT: int
EXT_TUPLE: int
EXT_DATETIME: int
EXT_NDARRAY: int
EXT_DECIMAL: int
EXT_WIDE_STR: int
EXT_BYTEARRAY: int
EXT_SET: int
EXT_NAMED: int
EXT_PANDAS: int
EXT_NUMPY: int
EXT_BUFFER: int
EXT_FRAMES: int
EXT_PICKLE: int
COLUMN_ANY: int
COLUMN_FLOAT: int
COLUMN_INT: int
COLUMN_TEXT: int
COLUMN_CONST: int
COLUMN_LIST: int
COLUMN_DICT: int
COLUMN_BOOL: int
COLUMN_NULLABLE: int
COLUMN_DECIMAL: int
COLUMN_UNIQUE: int
COLUMN_TUPLE: int
COLUMN_SPLIT: int
COLUMN_RAW: int
COLUMN_FRAMES: int
TIME_DATE: int
TIME_TIME: int
TIME_DATETIME: int
TIME_TIMEDELTA: int
TIME_TIMEZONE: int
TIME_ZONEINFO: int

class CodecError(Exception):
    """Base of the two below; lambdamap.errors turns them into EncodeError and DecodeError."""

class EncodeFailure(CodecError):
    """args = (message, path) where path is the place inside the value, e.g. "['a'][3]"."""

class Entangled(EncodeFailure):
    """Its parts cannot travel one by one; where pickles are allowed, one of all of it can.

    A ChunkPacker sees to that for its spec and its items.
    """

class DecodeFailure(CodecError):
    """args = (message,)."""

@final
class Budget:
    """The bytes that a value which is being read may still take; called with a number, it takes them away."""

    def __call__(self, size: int, /) -> None: ...
    def keys(self, keys: list[Any], /) -> None:
        """DecodeFailure for keys of which a dict would be slow."""

def encode(
    value: Any, /, *, allow_pickle: bool = False, compression: bool = True, callables: bool = True
) -> bytes:
    """One value -> a sealed frame.

    callables: functions and classes may be named in it that are more than plain; else EncodeFailure.
    """

def decode(
    frame: bytes | bytearray | memoryview,
    /,
    *,
    allow_pickle: bool = False,
    names: Names | None = None,
    max_output_bytes: int = 268435456,
    max_depth: int = 512,
    check: Callable[[], object] | None = None,
) -> Any:
    """A sealed or raw frame -> its value.

    names follows the names of callables, classes and modules; None: `_names.DATA`, or `_names.TRUSTED` with
    allow_pickle. check is called now and then, some tens of milliseconds apart at most; what it raises
    ends the reading, and so does what the handler of a signal raises.
    """

def encode_text(
    value: Any, /, *, allow_pickle: bool = False, compression: bool = True, callables: bool = True
) -> str: ...
def decode_text(
    text: str | bytes,
    /,
    *,
    allow_pickle: bool = False,
    names: Names | None = None,
    max_output_bytes: int = 268435456,
    max_depth: int = 512,
    check: Callable[[], object] | None = None,
) -> Any: ...
def encode_json(value: Any, /) -> bytes:
    """One value as plain JSON in UTF-8; EncodeFailure names the place of what JSON has no form for."""

@final
class ChunkPacker:
    """Packs `[spec, [item, ...]]`, the value of every request, chunk after chunk.

    spec is encoded once here and copied into each chunk.
    """

    def __init__(self, spec: Any, /, *, allow_pickle: bool = False) -> None: ...
    def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int:
        """Append items to the open chunk until it holds max_items or max_bytes, or the iterator ends.

        Returns the items now in the open chunk. An item that would pass max_bytes when the chunk already holds one is
        kept and becomes the first of the next chunk. On an exception (the iterator's own, EncodeFailure) the
        chunk stays as it was before the item; `items_packed` says how many items were taken before it.
        """
    def take(self) -> bytes:
        """The open chunk as a raw frame; a new one is opened."""
    @property
    def exhausted(self) -> bool:
        """The iterator has ended and no item is held back."""
    @property
    def items_packed(self) -> int:
        """Items appended since the start, over all chunks: the index of the next item."""
    @property
    def chunk_items(self) -> int: ...
    @property
    def chunk_bytes(self) -> int: ...

@final
class Chunker:
    """policy/chunk.h for Python."""

    def __init__(self, fixed: int, /) -> None: ...
    def next(self, window: int, left: int, deadline_left_us: int, /) -> int: ...
    def observe(self, items: int, worker_us: int, window: int, /) -> None: ...
    @property
    def max_bytes(self) -> int: ...
