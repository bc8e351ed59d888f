"""The lines that Lambda adds to the log of an invocation, with the local Lambda's own measurements."""

from __future__ import annotations

import math

__all__ = ["with_lines"]

_MB = 1 << 20


def with_lines(
    log: bytes, request_id: str, seconds: float, init_s: float, memory_mb: str, used: int, most: int
) -> bytes:
    """Return the end of a log with the invocation's START, END and REPORT lines.

    Parameters
    ----------
    log
        What the sandbox has printed.
    request_id, seconds
        Of the invocation.
    init_s
        How long the sandbox took to start, if it was started for this invocation; else 0.
    memory_mb, used
        The function's memory, and the most bytes that the sandbox has used so far.
    most
        Number of bytes to return.
    """
    billed = math.ceil((seconds + init_s) * 1000)  # AWS bills the start, too
    line = (
        f"REPORT RequestId: {request_id}\tDuration: {seconds * 1000:.2f} ms\t"
        f"Billed Duration: {max(1, billed)} ms\tMemory Size: {memory_mb} MB\t"
        f"Max Memory Used: {math.ceil(max(0, used) / _MB)} MB\t"
    )
    if init_s > 0:
        line += f"Init Duration: {init_s * 1000:.2f} ms\t"
    start = f"START RequestId: {request_id} Version: $LATEST\n"
    between = b"" if log.endswith(b"\n") or not log else b"\n"
    whole = start.encode() + log + between + f"END RequestId: {request_id}\n{line}\n".encode()
    return whole[-most:]
