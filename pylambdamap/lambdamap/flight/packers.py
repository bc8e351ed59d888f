"""Encoding of a map's chunks: items packed into requests, results unpacked from replies.

Frames and JSON carry items for a lambdamap worker; payloads go to any function, one per chunk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lambdamap import _codec, errors
from lambdamap.shipping import json_codec

if TYPE_CHECKING:
    from lambdamap.flight.durable import Names
    from lambdamap.flight.ports import Coding, Completion, Packer
    from lambdamap.options import Options
    from lambdamap.shipping.functions import Shipment

__all__ = ["Packed", "Payloads", "coding_of", "reader_of"]

_NO_LIMIT = 1 << 40  # bytes of a chunk that is packed again


def coding_of(shipment: Shipment, options: Options, calls: str, allow_pickle: bool) -> Coding:
    """Return how the items of a function are packed.

    allow_pickle: items and results may be pickled.

    Raises
    ------
    ConfigError
        codec="json" and a function that cannot be sent by name only.
    EncodeError
        The function's constant arguments cannot be sent.
    """
    if options.codec == "json":
        if shipment.spec or calls not in ("item", "star"):
            raise errors.ConfigError(
                f'codec="json" sends functions by name only, and {shipment.path} cannot be sent that way: '
                "define it in a module that both sides import, without partial or by_value"
            )
        return _Json(calls == "star", allow_pickle)
    try:
        return _Frames(shipment.spec, allow_pickle, options.max_result_bytes)
    except _codec.EncodeFailure as error:
        raise errors.EncodeError(f"{shipment.path} cannot be sent: {error.args[0]}") from error


def reader_of(codec: str, payloads: bool, allow_pickle: bool) -> Coding:
    """Return a coding for reading kept replies. payloads: they are those of any function."""
    if payloads:
        return Payloads(False, None)
    return _Json(False, allow_pickle) if codec == "json" else _Frames({}, allow_pickle, 1 << 30)


class _Frames:
    """Chunks of items as lambdamap frames."""

    for_worker = True

    def __init__(self, spec: Any, allow_pickle: bool, max_result_bytes: int) -> None:
        self._spec = spec
        self.allow_pickle = allow_pickle
        self._max_result_bytes = max_result_bytes
        self.packer = _codec.ChunkPacker(spec, allow_pickle=allow_pickle)

    def unpack(
        self, completion: Completion, check: Callable[[], None] | None
    ) -> tuple[list[Any], dict[int, Any]]:
        frame: Any = completion.frame
        if frame is None:
            raise _codec.DecodeFailure("the reply contains no results")
        decode: Any = _codec.decode_text if isinstance(frame, str) else _codec.decode
        found = decode(
            frame,
            allow_pickle=self.allow_pickle,
            max_output_bytes=self._max_result_bytes,
            check=check,
        )
        if not isinstance(found, list) or len(found) != 2:
            raise _codec.DecodeFailure("the frame is not a pair of results and errors")
        return _checked(*found)

    def _new_packer(self) -> Packer:
        return _codec.ChunkPacker(self._spec, allow_pickle=True)

    def parts(self, chunk: bytes, start: int, size: int) -> list[tuple[bytes, int]]:
        items = _codec.decode(chunk, allow_pickle=True)[1]
        return _repack(self._new_packer, items, start, size)

    def pick(self, chunk: bytes, positions: list[int]) -> list[bytes]:
        items = _codec.decode(chunk, allow_pickle=True)[1]
        return _pick(self._new_packer, items, positions)


class _Json:
    """Chunks of items as JSON. star: an item is a call's arguments."""

    for_worker = True

    def __init__(self, star: bool, allow_pickle: bool) -> None:
        self._star = star
        self.allow_pickle = allow_pickle
        self.packer = json_codec.JsonPacker(star)

    def unpack(
        self, completion: Completion, check: Callable[[], None] | None
    ) -> tuple[list[Any], dict[int, Any]]:
        del check
        if completion.frame is None:
            raise _codec.DecodeFailure("the reply contains no results")
        return _checked(*json_codec.results_of(completion.frame))

    def parts(self, chunk: bytes, start: int, size: int) -> list[tuple[bytes, int]]:
        items = json_codec.items_of(chunk)
        return _repack(lambda: json_codec.JsonPacker(self._star), items, start, size)

    def pick(self, chunk: bytes, positions: list[int]) -> list[bytes]:
        items = json_codec.items_of(chunk)
        return _pick(lambda: json_codec.JsonPacker(self._star), items, positions)


def _repack(
    new_packer: Callable[[], Packer], items: list[Any], start: int, size: int
) -> list[tuple[bytes, int]]:
    made = []
    for at in range(start, len(items), size):
        part = items[at : at + size]
        packer = new_packer()
        packer.fill(iter(part), len(part), _NO_LIMIT)
        made.append((packer.take(), len(part)))
    return made


def _pick(new_packer: Callable[[], Packer], items: list[Any], positions: list[int]) -> list[bytes]:
    chosen = [items[at] for at in positions]
    return [chunk for chunk, _ in _repack(new_packer, chosen, 0, 1)]


def _checked(results: Any, guarded: Any) -> tuple[list[Any], dict[int, Any]]:
    """Return a reply's results as a list, and its errors by index.

    Raises
    ------
    DecodeFailure
        They violate the wire format.
    """
    if isinstance(results, dict):
        if list(results) != list(range(len(results))):
            raise _codec.DecodeFailure("the results are not numbered from 0")
        results = list(results.values())
    if (
        not isinstance(results, list)
        or not isinstance(guarded, dict)
        or not all(
            type(i) is int and 0 <= i < len(results) and isinstance(described, dict)
            for i, described in guarded.items()
        )
    ):
        raise _codec.DecodeFailure(
            "the results are not a list, or an error does not belong to a result"
        )
    return results, guarded


class Payloads:
    """Payloads of `invoke_map` and whole replies. raw: replies are bytes, not decoded as JSON."""

    for_worker = False
    allow_pickle = False

    def __init__(self, raw: bool, names: Names | None) -> None:
        self._raw = raw
        self.packer = _PayloadPacker(names)

    def unpack(
        self, completion: Completion, check: Callable[[], None] | None
    ) -> tuple[list[Any], dict[int, Any]]:
        del check
        body = completion.body or b""
        if self._raw:
            return [body], {}
        try:
            return [json.loads(body) if body else None], {}
        except ValueError as error:
            raise _codec.DecodeFailure(f"the reply is not JSON ({error}): use raw=True") from None

    def parts(self, chunk: bytes, start: int, size: int) -> list[tuple[bytes, int]]:
        del start, size
        return [(chunk, 1)]

    def pick(self, chunk: bytes, positions: list[int]) -> list[bytes]:
        return [chunk] * len(positions)


class Packed:
    """Chunks of one item each, already packed in this coding."""

    for_worker = True

    def __init__(self, coding: Coding) -> None:
        self.allow_pickle = coding.allow_pickle
        self.unpack = coding.unpack
        self.packer = _PayloadPacker()

    def parts(self, chunk: bytes, start: int, size: int) -> list[tuple[bytes, int]]:
        del start, size
        return [(chunk, 1)]

    def pick(self, chunk: bytes, positions: list[int]) -> list[bytes]:
        return [chunk] * len(positions)


class _PayloadPacker:
    """One payload per chunk, as JSON or as the given bytes."""

    def __init__(self, names: Names | None = None) -> None:
        self._names = names
        self.exhausted = False
        self.items_packed = 0
        self.chunk_bytes = 0
        self._payload = b""

    def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int:
        del max_bytes
        if max_items == 0:  # of a feed that has no item yet
            return 0
        try:
            payload = next(iterator)
        except StopIteration:
            self.exhausted = True
            return 0
        if isinstance(payload, (bytes, bytearray, memoryview)):
            self._payload = bytes(payload)
        else:
            try:
                self._payload = json.dumps(payload, allow_nan=False).encode()
            except (TypeError, ValueError) as error:
                raise _codec.EncodeFailure(
                    f"it is not JSON ({error}): pass JSON-serializable data or bytes"
                ) from error
        if self._names is not None:
            self._names.make(self.items_packed, payload)
        self.items_packed += 1
        return 1

    def take(self) -> bytes:
        payload, self._payload = self._payload, b""
        return payload

    def skip(self) -> None:
        self.items_packed += 1
