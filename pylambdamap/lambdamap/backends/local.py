"""The backend that uses the local Lambda."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lambdamap.backends.credentials import Credentials
from lambdamap.backends.route import Route

if TYPE_CHECKING:
    from lambdamap.local.server import Kind
    from lambdamap.options import Options

__all__ = ["route"]


def route(options: Options) -> Route:
    """Return the route to the local Lambda of this process, which is started on first use.

    Sandboxes with older code than the files on disk are replaced.
    """
    from lambdamap.local.server import shared

    function = shared(cast("Kind", options.local), options.memory_mb)
    function.refresh_code()
    return Route(
        name="local",
        url=function.endpoint_url,
        function="local",
        region="us-east-1",
        credentials=Credentials(
            function.access_key, function.secret_key, None, None, "local Lambda"
        ),
        max_concurrency=2 * function.sandboxes,
        trusted=True,
        reports=options.logs,
        headers=() if options.logs else (("X-Amz-Log-Type", "None"),),
    )
