"""Requests as a caller makes them, and the results in a worker's reply."""

from __future__ import annotations

import json
from typing import Any

from lambdamap import _codec
from lambdamap.shipping import lookup
from lambdamap.shipping.envelope import PYTHON


def request(function: Any, items: list[Any], /, **head: Any) -> dict[str, Any]:
    packer = _codec.ChunkPacker({})
    packer.fill(iter(items), max(1, len(items)), 1 << 30)
    value = _codec.decode(packer.take(), names=lookup.TRUSTED)
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    defaults = {
        "protocol": _codec.PROTOCOL, "version": "0.1.0", "python": PYTHON, "by_value": 0,
        "map": "0" * 32, "chunk": 0, "items": len(items), "attempt": 1, "left_ms": 60_000,
        "depth": 0, "on_error": "raise", "compression": 0, "allow_pickle": 0,
        "function": f"{module}:{name}", "code": None,
    }  # fmt: skip
    return {"lambdamap": {**defaults, **head}, "p": _codec.encode_text(value)}


def results(reply: dict[str, Any]) -> Any:
    json.dumps(reply)  # it can always be converted to JSON
    return _codec.decode_text(reply["r"])[0]
