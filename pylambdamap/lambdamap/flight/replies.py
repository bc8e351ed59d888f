"""What a reply says: results and errors of its items, what they printed, and of which code they are."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from lambdamap import _codec, errors
from lambdamap.flight import failures
from lambdamap.shipping import envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdamap.flight.ports import Coding, Completion

__all__ = ["results_of", "show_output", "warn_stale"]


def results_of(
    completion: Completion,
    coding: Coding,
    *,
    guarded: bool,
    check: Callable[[], None] | None = None,
) -> tuple[list[Any], dict[int, BaseException]]:
    """The results that a reply holds, and by index the errors of the items that failed.

    guarded: the request has asked for errors among the results. check: called now and then while
    they are read; what it raises ends that.

    Raises
    ------
    DecodeError, ProtocolError
        It cannot be read. f has run.
    """
    done = completion.done
    try:
        results, described = coding.unpack(completion, check) if done else ([], {})
        if len(results) != done:
            raise envelope.Malformed(f"{len(results)} results for {done} items")
        if described and not guarded:
            raise envelope.Malformed("errors among the results, although on_error is not 'return'")
        failed = {}
        for index, error in described.items():
            if results[index] is not None:
                raise envelope.Malformed(f"both a result and an error for item {index}")
            said = envelope.read_error(error, completion.n_items, done, among=index)
            failed[index] = failures.of_reply(
                said, completion, coding.allow_pickle, stopped=False, of=len(described)
            )
        return results, failed
    except (envelope.Malformed, _codec.DecodeFailure) as found:
        wrong, cause = found.with_traceback(None), found.__cause__
    except BaseException as found:
        # Signals come to the main thread alone. In another one it is the value that exits.
        if isinstance(found, Exception) or _in_main_thread():
            raise
        wrong, cause = _codec.DecodeFailure(f"{type(found).__name__}: {found}"), found
    # Here, so that the frames of decoding do not stay with it, and in them the reply.
    if cause is not None:
        errors.trim(cause)
    raise failures.unreadable(wrong, completion) from cause


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def show_output(completion: Completion) -> None:
    """Print what items have printed, ``[[index, text], ...]``, under their position."""
    found = json.loads(completion.output or b"[]")
    for printed in found if isinstance(found, list) else ():
        match printed:
            case [int(index), str(text)] if type(index) is int and 0 <= index < completion.n_items:
                for line in text.splitlines():
                    print(f"[{completion.first_item + index}] {line}")


def warn_stale(raw: str) -> None:
    found = json.loads(raw)
    module = found.get("module") if isinstance(found, dict) else None
    errors.warn(
        f"the worker runs another version of {module or 'the code'} than this process: deploy it, "
        "or results come from the old code",
        errors.StaleCodeWarning,
    )
