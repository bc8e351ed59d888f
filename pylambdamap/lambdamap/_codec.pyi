from collections.abc import Callable, Iterator
from typing import Any, Final, final

from lambdamap.shipping.lookup import Names

WIRE_VERSION: Final[int]
PROTOCOL: Final[int]

# Limits of Lambda and of what it is sent: csrc/core/base/limits.h has their sources.
MAX_REPLY_BYTES: Final[int]
MAX_RESULTS_TEXT: Final[int]

# Bytes that a value takes, rounded up: one that shipping.kinds makes, a place in a list, a pair in a dict,
# a pandas frame. Counted before it is built.
COST_KIND: Final[int]
COST_SLOT: Final[int]
COST_PAIR: Final[int]
COST_FRAME: Final[int]

# The numbers of docs/wire-format.md, which the C sources declare: extension types, kinds of column, and
# kinds of extension 4.
EXT_LIST: Final[int]
EXT_BIG_INT: Final[int]
EXT_TUPLE: Final[int]
EXT_DATETIME: Final[int]
EXT_NDARRAY: Final[int]
EXT_DECIMAL: Final[int]
EXT_WIDE_STR: Final[int]
EXT_BYTEARRAY: Final[int]
EXT_SET: Final[int]
EXT_NAMED: Final[int]
EXT_PANDAS: Final[int]
EXT_NUMPY: Final[int]
EXT_BUFFER: Final[int]
EXT_FRAMES: Final[int]
EXT_PICKLE: Final[int]
COLUMN_ANY: Final[int]
COLUMN_FLOAT: Final[int]
COLUMN_INT: Final[int]
COLUMN_TEXT: Final[int]
COLUMN_CONST: Final[int]
COLUMN_LIST: Final[int]
COLUMN_DICT: Final[int]
COLUMN_BOOL: Final[int]
COLUMN_NULLABLE: Final[int]
COLUMN_DECIMAL: Final[int]
COLUMN_UNIQUE: Final[int]
COLUMN_TUPLE: Final[int]
COLUMN_SPLIT: Final[int]
COLUMN_RAW: Final[int]
COLUMN_FRAMES: Final[int]
TIME_DATE: Final[int]
TIME_TIME: Final[int]
TIME_DATETIME: Final[int]
TIME_TIMEDELTA: Final[int]
TIME_TIMEZONE: Final[int]
TIME_ZONEINFO: Final[int]

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
