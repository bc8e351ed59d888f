"""The end of the log: when it is asked for, over each version of HTTP, and what becomes of it."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest

import lambdamap
from lambdamap.local.report import with_lines
from scripted import reply

SECRET = b"password=hunter2\n"
LOG = base64.b64encode(with_lines(SECRET * 300, "id", 0.1, 0, "256", 9 << 20, 4096)).decode()


def invoke(site: Any, server: Any, **changes: Any) -> lambdamap.Results[Any]:
    options = site.options(server, **changes)
    del options["chunksize"]
    return lambdamap.invoke_map(options.pop("function"), [1, 2, 3], **options)


def test_it_is_read_for_its_report_only(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "lambdamap.wire")
    server = site.server(then=reply(b"7", X_Amz_Log_Result=LOG))
    results = invoke(site, server, billing=True, tenant_id="blue", client_context={})
    assert list(results) == [7, 7, 7]
    assert not server.bad_signatures
    for request in server.requests:
        assert request.headers["x-amz-log-type"] == "Tail"
        signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        assert "x-amz-log-type" in signed.split(";")
    stats = results.stats
    assert (stats.reports, stats.billed_ms, stats.max_memory_mb) == (3, 300, 9)
    shown = [record.getMessage() for record in caplog.records]
    assert shown
    shown += [repr(vars(record)) for record in caplog.records]
    shown += [repr(stats), repr(dict(stats)), results.timeline().svg()]
    assert not [text for text in shown if "hunter2" in text or LOG[:40] in text]


@pytest.mark.parametrize("billing", [None, False])
def test_another_endpoint_is_not_asked(plain_site: Any, billing: bool | None) -> None:
    """A proxy in front of it may refuse such a long header, after f has run."""
    server = plain_site.server(then=reply(b"7"))
    results = invoke(plain_site, server, billing=billing)
    assert list(results) == [7, 7, 7]
    assert not [r for r in server.requests if "x-amz-log-type" in r.headers]
    assert results.stats.billed_ms is None


@pytest.mark.parametrize(
    "log",
    ["", "====", "no base64!", "QQ==", LOG[:-3], "A" * 8000, base64.b64encode(b"REPORT RequestId: ").decode()],
    ids=["empty", "padding", "text", "A", "cut", "long", "no numbers"],
)  # fmt: skip
def test_anything_else_is_ignored(site: Any, log: str) -> None:
    server = site.server(then=reply(b"7", X_Amz_Log_Result=log))
    results = invoke(site, server, billing=True)
    assert list(results) == [7, 7, 7]
    assert results.stats.billed_ms is None
    assert results.timeline().chunks[0].cold is None
