from collections.abc import Callable, Iterator
from typing import Any, Final, final

from lambdamap.shipping.lookup import Names

WIRE_VERSION: Final[int]
PROTOCOL: Final[int]

# Limits of Lambda and of what it is sent: csrc/core/base/limits.h has their sources.
MAX_REPLY_BYTES: Final[int]
MAX_RESULTS_TEXT: Final[int]

# Upper bounds for the bytes of a value made by shipping.kinds, a place in a list, a pair in a dict, and a
# pandas frame. Charged before the value is built.
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
    """Base of the errors below; lambdamap.errors turns them into EncodeError and DecodeError."""

class EncodeFailure(CodecError):
    """A value cannot be encoded: args are the message and the place in the value, as "['a'][3]"."""

class Entangled(EncodeFailure):
    """The value cannot be sent in parts; if pickles are allowed, one pickle of the whole can be.

    A `ChunkPacker` pickles its spec and its items in that case.
    """

class DecodeFailure(CodecError):
    """Bytes cannot be decoded: args is the message."""

class PickleRefused(DecodeFailure):
    """The bytes contain a pickle, and pickles are not allowed."""

@final
class Budget:
    """The bytes that a value being decoded may still take; call it to charge some of them."""

    def __call__(self, size: int, /) -> None: ...
    def keys(self, keys: list[Any], /) -> None:
        """Raise DecodeFailure if a dict of these keys would be slow."""

def encode(
    value: object,
    /,
    *,
    allow_pickle: bool = False,
    compression: bool = True,
    callables: bool = True,
) -> bytes:
    """Encode a value as a sealed frame.

    callables: whether it may name functions and classes that do more than make a value; otherwise
    they raise EncodeFailure.
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
    """Return the value of a frame, sealed or raw.

    names resolves the names of callables, classes and modules; None: `shipping.lookup.DATA`, or
    `shipping.lookup.TRUSTED` with allow_pickle. check is called every few tens of milliseconds; an
    exception that it or a signal handler raises ends decoding.
    """

def encode_text(
    value: object,
    /,
    *,
    allow_pickle: bool = False,
    compression: bool = True,
    callables: bool = True,
) -> str:
    """Encode a value as text: ``lm1:`` and the sealed frame in base64."""

def decode_text(
    text: str | bytes | bytearray | memoryview,
    /,
    *,
    allow_pickle: bool = False,
    names: Names | None = None,
    max_output_bytes: int = 268435456,
    max_depth: int = 512,
    check: Callable[[], object] | None = None,
) -> Any:
    """Decode a text made by `encode_text`; arguments as for `decode`."""

def encode_json(value: object, /) -> bytes:
    """Encode a value as JSON in UTF-8; EncodeFailure says where it contains what JSON cannot represent."""

@final
class ChunkPacker:
    """Packs ``[spec, [item, ...]]``, the value of every request, chunk after chunk.

    spec is encoded once and copied into each chunk.
    """

    def __init__(self, spec: object, /, *, allow_pickle: bool = False) -> None: ...
    def fill(self, iterator: Iterator[object], max_items: int, max_bytes: int, /) -> int:
        """Append items until the open chunk holds max_items or max_bytes, or the iterator ends.

        Returns the number of items in the open chunk. An item that would exceed max_bytes in a chunk that holds
        others is kept and becomes the first of the next chunk. On an exception (the iterator's own, or
        EncodeFailure) the chunk stays as it was before the item; `items_packed` says how many items
        were taken before it.
        """
    def take(self) -> bytes:
        """Return the open chunk as a raw frame, and open a new one."""
    def skip(self) -> None:
        """Count an item that could not be packed. The open chunk must be empty."""
    @property
    def exhausted(self) -> bool:
        """Whether the iterator has ended and no item is kept for the next chunk."""
    @property
    def items_packed(self) -> int:
        """Number of items in all chunks, which is the index of the next one."""
    @property
    def chunk_items(self) -> int:
        """Number of items in the open chunk."""
    @property
    def chunk_bytes(self) -> int:
        """Upper bound for the bytes in the open chunk."""

@final
class Digester(Iterator[Any]):
    """Iterates over the items of another iterator, and takes their digests.

    A digest is the same in every process for what is encoded alike.
    """

    def __init__(self, iterator: Iterator[object], slow: Callable[[Any], bytes], /) -> None:
        """slow: returns the digest of an item that the codec cannot encode the same way everywhere."""
    def __next__(self) -> Any: ...
    def take(self, items: int, /) -> bytes:
        """Return the digests of the first items read, 8 bytes each, and forget them."""
    @property
    def last(self) -> bytes:
        """The digest of the last item that was read; empty after `take` of all."""

@final
class Chunker:
    """Decides the number of items per chunk (csrc/core/policy/chunk.h)."""

    def __init__(self, fixed: int, /) -> None:
        """fixed: number of items in every chunk; 0: adapted while the map runs."""
    def next(self, window: int, left: int, deadline_left_us: int, /) -> int:
        """Return the number of items for the next chunk; 0: wait for a reply first. -1: unknown."""
    def observe(self, items: int, worker_us: int, window: int, /) -> None:
        """Record that a reply's items took worker_us microseconds."""
    @property
    def max_bytes(self) -> int:
        """Bytes at which a chunk is full, whatever its number of items."""
