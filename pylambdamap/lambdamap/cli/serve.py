"""``lambdamap serve``: the local Lambda by itself, for boto3, the AWS CLI and other languages."""

from __future__ import annotations

from typing import cast

import click

from lambdamap.cli.common import map_option
from lambdamap.local.server import Kind


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9001,
    show_default=True,
    metavar="PORT",
    help="On 127.0.0.1; 0: any free port.",
)
@click.option(
    "--sandboxes", type=click.IntRange(min=1), help="Processes. Default: the number of cores."
)
@map_option("local", default="builtin", show_default=True)
@click.option(
    "--handler",
    metavar="MODULE.FUNCTION",
    default="lambdamap.worker.entry.handler",
    show_default=True,
    help="Called with event and context; the module is searched in the working directory first.",
)
@click.option(
    "--function-name", metavar="NAME", help="The only function name that exists. Default: any name."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=900.0,
    show_default=True,
    metavar="SECONDS",
    help="The function's timeout; its sandbox is then killed.",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    default=1769,
    show_default=True,
    metavar="MB",
    help="The function's memory limit; above it the sandbox is killed.",
)
@click.option(
    "--concurrency-limit",
    type=click.IntRange(min=1),
    help="Answer 429 to requests above this number. Default: they wait.",
)
@click.option(
    "--self-invocation",
    is_flag=True,
    help="Run maps in the handler on this function, as on AWS.",
)
@click.option("--no-auth", is_flag=True, help="Accept unsigned requests of anyone on this machine.")
def serve(
    port: int,
    sandboxes: int | None,
    local: str,
    handler: str,
    function_name: str | None,
    timeout: float,
    memory: int,
    concurrency_limit: int | None,
    self_invocation: bool,
    no_auth: bool,
) -> None:
    """Run a local Lambda until Ctrl-C, and print how to reach it."""
    from lambdamap.local.serve import serve as run

    try:
        run(
            port=port,
            sandboxes=sandboxes,
            kind=cast("Kind", local),
            handler=handler,
            function_name=function_name,
            timeout_s=timeout,
            memory_mb=memory,
            concurrency_limit=concurrency_limit,
            auth=not no_auth,
            self_invocation=self_invocation,
            say=click.echo,
        )
    except (OSError, ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from error
