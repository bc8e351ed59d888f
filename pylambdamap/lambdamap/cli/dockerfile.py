"""``lambdamap dockerfile``: for functions that are too large for a zip."""

from __future__ import annotations

from pathlib import Path

import click

from lambdamap.cli.deploy import environment_of, package_options
from lambdamap.errors import LambdaMapError


@click.command()
@package_options
def dockerfile(
    requirements: Path | None,
    modules: tuple[str, ...],
    runtime: str | None,
    architecture: str | None,
    wheel: Path | None,
    allow: tuple[str, ...],
    by_value: bool,
) -> None:
    """Print a Dockerfile for a function, based on AWS's image of Python 3.12 or later.

    Build the image, push it to ECR, then run: lambdamap deploy NAME --image URI. The image needs
    lambdamap's wheel, which ./dev wheel in lambdamap's source folder makes.
    """
    from lambdamap.deploy.image import dockerfile as text_of
    from lambdamap.deploy.package import Runtime

    try:
        text = text_of(
            Runtime.of(runtime, architecture),
            requirements=requirements.name if requirements is not None else None,
            modules=modules,
            wheel=wheel.name if wheel is not None else None,
            environment=environment_of(modules, allow, by_value),
        )
    except LambdaMapError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text, nl=False)
