"""``lambdamap doctor``: checks everything that a map needs, and prints one line for each.

It uses what maps use: the same options, credentials, TLS, proxy and signature. No secret is shown.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import resource
import sys
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lambdamap._version import __version__
from lambdamap.cli.common import FLAGS, in_options, map_option, map_options, resolved
from lambdamap.errors import LambdaMapError
from lambdamap.options import DECLARED, WHERE

if TYPE_CHECKING:
    from lambdamap._net import Completion
    from lambdamap.backends.route import Route
    from lambdamap.options import Options

__all__ = ["Finding", "doctor", "examine", "run"]

_REPLY_S = 30.0
_CONNECT_S = 5.0
_OF_AWS = re.compile(r"(?:.+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonwebservices\.com\.cn)")
_SPARE_FILES = 64  # descriptors that a process needs in addition to its connections
_DEFAULT_CONCURRENCY = 256
_ZAPPA_TASK = "lambdamap.worker.entry.zappa_task"
_OK, _NOTE, _FAIL = "ok", "note", "FAIL"


class Finding(NamedTuple):
    """One line of the report."""

    state: str  # ok, note or FAIL
    subject: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.state:<5} {self.subject:<12} {' '.join(self.text.split())}"
        return f"{line}: {self.remedy}" if self.remedy else line


Report = Callable[[Finding], None]


@click.command()
@map_options(*(name for name in FLAGS if DECLARED[name].group == WHERE))
@map_option("timeout", help="Seconds for each request. Default: 30.")
@click.option(
    "--invoke/--no-invoke",
    default=None,
    help="Ask the worker for its versions with one invocation, which calls none of its functions; a "
    "handler that is not lambdamap's runs. Default: yes, but on a terminal you are asked first.",
)
@click.pass_context
def doctor(ctx: click.Context, /, invoke: bool | None, **given: Any) -> None:
    """Check the libraries, the credentials and the connection to the function.

    Prints one line for each thing that a map needs, with the remedy if something is wrong; the exit
    status is then 1.
    """
    ctx.exit(run(resolved(given), invoke=invoke, say=lambda line: click.echo(in_options(line))))


def run(
    options: Options | None = None,
    *,
    invoke: bool | None = None,
    say: Callable[[str], object] = click.echo,
) -> int:
    """Print the findings, and return the exit status: 1 if a check failed, else 0.

    Parameters
    ----------
    options
        Options of a map; default: the configured ones.
    invoke
        Also ask the worker for its versions, with one invocation. None: yes, but on a terminal the
        user is asked before a handler runs that may not be lambdamap's.
    say
        Called with each line.
    """
    failed = False

    def report(finding: Finding) -> None:
        nonlocal failed
        failed = failed or finding.state == _FAIL
        say(str(finding))

    ask = invoke is None and sys.stdin is not None and sys.stdin.isatty()
    agree = (lambda: click.confirm("Invoke it?", default=True, err=True)) if ask else None
    examine(report, options, invoke=invoke is not False, agree=agree)
    return int(failed)


def examine(
    report: Report,
    options: Options | None = None,
    *,
    invoke: bool = True,
    agree: Callable[[], bool] | None = None,
) -> None:
    """Check everything, and report each finding as soon as it is known.

    agree: called after the announcement that a handler will run that may not be lambdamap's; if it
    returns False, the invocation is skipped.
    """
    report(Finding(_OK, "python", f"{platform.python_version()}, {sys.executable}"))
    if not _native(report):
        return
    if options is None:
        from lambdamap.options import resolve

        try:
            options = resolve()
        except LambdaMapError as error:
            report(Finding(_FAIL, "options", str(error)))
            return
    _limits(report, options)
    route = _route(report, options)
    if route is None:
        return
    options = dataclasses.replace(options, connect_timeout=min(options.connect_timeout, _CONNECT_S))
    knows_dry_run = _is_of_aws(route) or route.name == "local"
    if invoke and route.name != "local":
        report(Finding(_NOTE, "invocation", _announced(route, knows_dry_run), _SKIP))
        invoke = agree is None or agree()
    if not invoke and not knows_dry_run:
        text = f"{route.function} is not checked: this endpoint may run it in reply to a DryRun"
        report(Finding(_NOTE, "function", text))
        return
    if _function(report, route, options, knows_dry_run) and invoke:
        _worker(report, route, options)


_SKIP = "--no-invoke skips this"


def _is_of_aws(route: Route) -> bool:
    return _OF_AWS.fullmatch(urllib.parse.urlsplit(route.url).hostname or "") is not None


def _announced(route: Route, knows_dry_run: bool) -> str:
    text = f"{route.function} will be invoked once, to ask for its versions"
    if not knows_dry_run:
        text += ", after a DryRun, which an emulator may also run"
    return f"{text}; a handler that is not lambdamap's will run with an unknown event"


def _native(report: Report) -> bool:
    """Check that both extension modules load."""
    try:
        from lambdamap import _codec
    except ImportError as error:
        text = f"the codec does not load ({error})"
        report(Finding(_FAIL, "lambdamap", text, "reinstall lambdamap for this Python"))
        return False
    report(Finding(_OK, "lambdamap", f"{__version__}, protocol {_codec.PROTOCOL}"))
    try:
        from lambdamap import _net
    except ImportError as error:
        text = f"the dispatcher does not load ({error})"
        remedy = "install libcurl 7.76 or later and OpenSSL, then reinstall lambdamap"
        report(Finding(_FAIL, "libcurl", text, remedy))
        return False
    report(Finding(_OK, "libcurl", _net.CURL_VERSION))
    report(Finding(_OK, "OpenSSL", _net.TLS_VERSION))
    return True


def _limits(report: Report, options: Options) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.max_concurrency or _DEFAULT_CONCURRENCY
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    text = f"{files} open files, {memory / 2**30:.1f} GB, up to {wanted:,} invocations at once"
    if soft != resource.RLIM_INFINITY and soft < wanted + _SPARE_FILES:
        enough = hard == resource.RLIM_INFINITY or hard >= wanted + _SPARE_FILES
        remedy = f"run `ulimit -n {wanted + _SPARE_FILES}` first" if enough else (
            f"lower max_concurrency to {max(1, soft - _SPARE_FILES)}, or have the limit raised"
        )  # fmt: skip
        report(Finding(_FAIL, "limits", text, remedy))
        return
    report(Finding(_OK, "limits", text))


# --- the route to the function ------------------------------------------------------------------


def _route(report: Report, options: Options) -> Route | None:
    """Return the route that a map would use, or None without one."""
    from lambdamap import backends

    try:
        name = backends.choose(options)
    except LambdaMapError as error:
        report(Finding(_FAIL, "backend", str(error)))
        return None
    if name in ("inline", "executor"):
        report(Finding(_OK, "backend", f"{name}: maps do not use Lambda"))
        return None
    if name == "aws":
        return _aws_route(report, options)
    from lambdamap.backends import local

    report(Finding(_OK, "backend", f"a local Lambda ({options.local})"))
    try:
        return local.route(options)
    except (OSError, ModuleNotFoundError) as error:
        report(Finding(_FAIL, "function", f"the local Lambda cannot be started: {error}"))
        return None


def _aws_route(report: Report, options: Options) -> Route | None:
    from lambdamap import backends
    from lambdamap.backends import aws, credentials, endpoints

    function = options.function or backends.own_function() or ""
    keys = None
    try:
        keys = credentials.find(options.credentials, options.profile)
        report(Finding(_OK, "credentials", f"{keys.source}{_until(keys.expires_at)}"))
    except LambdaMapError as error:
        report(Finding(_FAIL, "credentials", str(error)))
    try:
        region = aws.region_of(function, options)
    except LambdaMapError as error:
        report(Finding(_FAIL, "region", str(error)))
        return None
    report(Finding(_OK, "region", region))
    try:
        url, _ = endpoints.resolve(options, region)
    except LambdaMapError as error:
        report(Finding(_FAIL, "endpoint", str(error)))
        return None
    report(Finding(_OK, "endpoint", url))
    return None if keys is None else aws.route(options, function)


def _until(expires_at: float | None) -> str:
    if expires_at is None:
        return ""
    return f", valid for {max(0, int((expires_at - time.time()) / 60))} minutes"


def _function(report: Report, route: Route, options: Options, knows_dry_run: bool) -> bool:
    """Check whether this caller may invoke the function, as far as the endpoint tells."""
    answer = _ask(route, options, b"{}", dry_run=True, report=report)
    name = route.function
    if isinstance(answer, Exception):
        report(Finding(_FAIL, "function", f"{name}: {_without_item(answer)}"))
    elif answer.status == 204:
        report(Finding(_OK, "function", f"{name} may be invoked (DryRun)"))
        return True
    elif answer.status == 200:  # for example, the runtime interface emulator
        text = f"{name} replies; the endpoint does not support DryRun and ran it"
        report(Finding(_NOTE, "function", text))
        return True
    elif answer.status in (400, 405, 501) and not knows_dry_run:  # for example, serverless-offline
        text = f"{name}: the endpoint does not support DryRun; only an invocation shows whether it exists"
        report(Finding(_NOTE, "function", text))
        return True
    else:
        report(Finding(_FAIL, "function", f"{name}: {_without_item(_error_of(answer))}"))
    return False


def _worker(report: Report, route: Route, options: Options) -> None:
    """Ask for the worker's versions: to an unknown protocol it replies with them and runs nothing."""
    from lambdamap import _codec
    from lambdamap.shipping import envelope

    head = {"protocol": 0, "version": __version__, "by_value": 0, "on_error": "raise"}
    event = {"command": _ZAPPA_TASK, "lambdamap": head, "p": ""}
    answer = _ask(route, options, json.dumps(event).encode(), dry_run=False)
    if isinstance(answer, Exception) or answer.failure:
        error = answer if isinstance(answer, Exception) else _error_of(answer)
        report(Finding(_FAIL, "worker", _without_item(error)))
        return
    try:
        theirs = envelope.load(answer.body or b"")["lambdamap"]
        version, python, protocol = theirs["version"], theirs["python"], theirs["protocol"]
    except (ValueError, TypeError, KeyError):
        text = "the function replies, but does not run lambdamap"
        remedy = (
            "set its handler to lambdamap.worker.entry.handler, or wrap its own with "
            "lambdamap.worker.wrap; functions without lambdamap can be called with invoke_map"
        )
        report(Finding(_FAIL, "worker", text, remedy))
        return
    text = f"lambdamap {version}, Python {python}"
    if protocol != _codec.PROTOCOL:
        remedy = "deploy the same release on both sides"
        report(Finding(_FAIL, "worker", f"{text}, protocol {protocol}", remedy))
    elif python != envelope.PYTHON:
        remedy = "functions sent by value need the same Python on both sides"
        report(Finding(_NOTE, "worker", f"{text} (here {envelope.PYTHON})", remedy))
    elif version != __version__:
        report(Finding(_NOTE, "worker", f"{text} (here {__version__})"))
    else:
        report(Finding(_OK, "worker", text))
    if isinstance(allowed := theirs.get("allow"), str):
        report(Finding(_OK, "allowed", allowed))


def _ask(
    route: Route, options: Options, body: bytes, *, dry_run: bool, report: Report | None = None
) -> Completion | Exception:
    """Make one invocation with the native dispatcher; return its completion, or an error.

    report: called with the version of HTTP that the endpoint speaks.
    """
    from lambdamap import _net
    from lambdamap.backends.route import open_target

    ms = int(1000 * (options.timeout or options.invocation_timeout or _REPLY_S))
    try:
        headers = (("X-Amz-Invocation-Type", "DryRun"),) if dry_run else ()
        net_map = _net.open_map(
            open_target(route, options, headers),
            envelope=None,
            map_id=uuid.uuid4().hex,
            compression=False,
            idempotent=False,
            invocation_timeout_ms=ms,
            timeout_ms=ms,
            max_result_bytes=1 << 20,
            max_reply_bytes=1 << 20,
            notes=False,
            trace=False,
            bound_id="",
            billing=0,
        )
    except LambdaMapError as error:
        return error
    net_map.submit(body, 0, 1)
    while (completion := net_map.take()) is None:
        net_map.wait(1.0)
    if report is not None and completion.status:
        report(Finding(_OK, "HTTP", "2" if net_map.stats["streams"] else "1.1"))
    return completion


def _error_of(completion: Completion) -> Exception:
    from lambdamap.flight import failures

    return failures.of_chunk(completion)


def _without_item(error: Exception) -> str:
    """Return the message of a chunk's error and its remedy, without the item and whether it ran."""
    text = str(error).removeprefix("item 0: ")
    found = re.fullmatch(r"(.*) \[f [\w ]+(?:; (.*))?\]", text, re.DOTALL)
    return ": ".join(filter(None, found.groups())) if found else text
