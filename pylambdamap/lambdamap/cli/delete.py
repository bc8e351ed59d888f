"""``lambdamap delete``: deletes what ``lambdamap deploy`` has created."""

from __future__ import annotations

import click

from lambdamap.cli.common import map_options
from lambdamap.errors import LambdaMapError


@click.command()
@click.argument("name")
@map_options("region", "profile")
def delete(name: str, region: str | None, profile: str | None) -> None:
    """Delete the Lambda function NAME and its role, if lambdamap created them.

    The function's log is kept: the log group /aws/lambda/NAME in CloudWatch.
    """
    from lambdamap.deploy.account import Account

    try:
        Account(region, profile, say=lambda text: click.echo(text, err=True)).delete(name)
    except LambdaMapError as error:
        raise click.ClickException(str(error)) from error
