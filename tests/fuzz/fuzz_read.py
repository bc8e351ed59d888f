"""Whatever bytes: a value or DecodeFailure, without anything run, imported or taken. For atheris."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["lambdamap"]):
    import payloads

    from lambdamap import _codec


def test_one_input(data: bytes) -> None:
    frame = payloads.frame_of(atheris.FuzzedDataProvider(data))
    with payloads.watched():
        try:
            value = _codec.decode(frame, max_output_bytes=payloads.MAX_BYTES)
        except _codec.DecodeFailure:
            return
    # What was read can be written again, but for what a type refuses.
    try:
        _codec.encode(value, callables=False)
    except _codec.EncodeFailure as failure:
        if "a function" in str(failure) or "a class" in str(failure):
            raise payloads.Broken(f"a callable was read: {failure}") from None


if __name__ == "__main__":
    payloads.warm()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
