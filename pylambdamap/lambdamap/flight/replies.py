"""Reading replies: results and errors of items, their output, and whether their code is stale."""

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

__all__ = ["output_of", "results_of", "show_output", "warn_stale"]


def results_of(
    completion: Completion,
    coding: Coding,
    *,
    guarded: bool,
    check: Callable[[], None] | None = None,
) -> tuple[list[Any], dict[int, BaseException]]:
    """Return a reply's results, and by index the errors of the items that failed.

    guarded: errors among the results are allowed (on_error="return"). check: called periodically
    while results are decoded; an exception that it raises ends decoding.

    Raises
    ------
    DecodeError, ProtocolError
        The reply is invalid. f has run.
    """
    done = completion.done
    try:
        results, described = coding.unpack(completion, check) if done else ([], {})
        if len(results) != done:
            raise envelope.Malformed(f"{len(results)} results for {done} items")
        if described and not guarded:
            raise envelope.Malformed("errors among the results, although on_error is not 'return'")
        failed = {}
        outputs = output_of(completion) if described else {}
        for index, error in described.items():
            if results[index] is not None:
                raise envelope.Malformed(f"both a result and an error for item {index}")
            said = envelope.read_error(error, completion.n_items, done, among=index)
            failed[index] = failures.of_reply(
                said, completion, coding.allow_pickle, outputs, stopped=False, of=len(described)
            )
        return results, failed
    except (envelope.Malformed, _codec.DecodeFailure) as found:
        wrong, cause = found.with_traceback(None), found.__cause__
    except BaseException as found:
        # Signals arrive in the main thread only. In another thread the decoded value raised it.
        if isinstance(found, Exception) or _in_main_thread():
            raise
        wrong, cause = _codec.DecodeFailure(f"{type(found).__name__}: {found}"), found
    # Raised here so that the traceback does not keep the decoder's frames, and the reply, alive.
    if cause is not None:
        errors.trim(cause)
    raise failures.invalid_reply(wrong, completion) from cause


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def output_of(completion: Completion) -> dict[int, str]:
    """Return what the items of a chunk printed, by position."""
    found = json.loads(completion.output or b"[]")
    printed: dict[int, str] = {}
    for pair in found if isinstance(found, list) else ():
        match pair:
            case [int(index), str(text)] if type(index) is int and 0 <= index < completion.n_items:
                printed[index] = printed.get(index, "") + text
    return printed


def show_output(completion: Completion) -> None:
    """Print the output of items, ``[[index, text], ...]``, each line with the item's position."""
    for index, text in output_of(completion).items():
        for line in text.splitlines():
            print(f"[{completion.first_item + index}] {line}")


def warn_stale(raw: str) -> None:
    """Warn that the worker's source differs; raw: ``code`` of the reply, as JSON."""
    found = json.loads(raw)
    module = found.get("module") if isinstance(found, dict) else None
    errors.warn(
        f"the worker runs a different version of {module or 'the code'} than this process: deploy the "
        "function again, otherwise results come from the old code",
        errors.StaleCodeWarning,
    )
