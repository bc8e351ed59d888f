"""``lambdamap deploy``: deploys code on this machine as a Lambda function."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lambdamap.cli.common import in_options, map_options
from lambdamap.errors import LambdaMapError

__all__ = ["deploy", "package_options"]

F = TypeVar("F", bound=Callable[..., Any])


def _check_patterns(
    _: click.Context, __: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    from lambdamap.worker.allow import malformed

    if mistake := malformed(" ".join(value)):
        raise click.BadParameter(mistake)
    return value


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PACKAGE = (
    click.option("--requirements", type=_FILE, help="Requirements file; packed from wheels."),
    click.option(
        "--module",
        "modules",
        multiple=True,
        metavar="NAME",
        help="A module of yours to pack, by import name or path; repeatable. Callers may run the "
        "functions of these modules, and those of --allow.",
    ),
    click.option("--runtime", metavar="python3.N", help="Default: this Python's version."),
    click.option(
        "--architecture", type=click.Choice(["x86_64", "arm64"]), help="Default: this machine's."
    ),
    click.option("--wheel", type=_FILE, help="lambdamap's wheel for the function; see above."),
    click.option(
        "--allow",
        multiple=True,
        metavar="PATTERN",
        callback=_check_patterns,
        help="Other functions that callers may run, as module:name with * and ?; repeatable.",
    ),
    click.option(
        "--by-value",
        is_flag=True,
        help="Let everyone who may invoke the function send it code: needed for notebooks and "
        "lambdas.",
    ),
)


def package_options(command: F) -> F:
    """Add the options of deploy and dockerfile."""
    for option in reversed(_PACKAGE):
        command = option(command)
    return command


def _check_role(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and re.fullmatch(r"arn:aws[\w-]*:iam::\d{12}:role/.+", value) is None:
        raise click.BadParameter("expected arn:aws:iam::123456789012:role/NAME")
    return value


def environment_of(
    modules: tuple[str, ...], allow: tuple[str, ...], by_value: bool
) -> dict[str, str]:
    """Return the environment variables that tell the worker what callers may run."""
    from lambdamap.deploy.package import allow_patterns

    variables = {}
    patterns = [pattern for pattern in (allow_patterns(modules), *allow) if pattern]
    if patterns:
        variables["LAMBDAMAP_ALLOW"] = " ".join(patterns)
    if by_value:
        variables["LAMBDAMAP_BY_VALUE"] = "1"
    return variables


def _allowed(environment: dict[str, str]) -> str:
    """Return what `environment_of` allows, for people to read."""
    patterns = environment.get("LAMBDAMAP_ALLOW")
    text = f"what LAMBDAMAP_ALLOW={shlex.quote(patterns)} matches" if patterns else (
        "the functions of modules outside installed packages (LAMBDAMAP_ALLOW is not set)"
    )  # fmt: skip
    if environment.get("LAMBDAMAP_BY_VALUE") == "1":
        return f"any code by value (--by-value), and by name {text}"
    return f"by name {text}, and nothing by value (--by-value)"


@click.command()
@click.argument("name")
@package_options
@click.option("--image", metavar="URI", help="A container image in ECR, instead of packing.")
@click.option(
    "--memory",
    type=click.IntRange(128, 10240),
    default=1769,
    show_default=True,
    metavar="MB",
    help="1769 MB gives one processor.",
)
@click.option(
    "--timeout", type=click.IntRange(1, 1800), default=300, show_default=True, metavar="SECONDS"
)
@click.option(
    "--role",
    metavar="ARN",
    callback=_check_role,
    help="The function's role. Default: one is created for it.",
)
@click.option("--bucket", help="S3 bucket for uploading a zip above 50 MB.")
@map_options("region", "profile")
def deploy(
    name: str,
    requirements: Path | None,
    modules: tuple[str, ...],
    runtime: str | None,
    architecture: str | None,
    wheel: Path | None,
    allow: tuple[str, ...],
    by_value: bool,
    image: str | None,
    memory: int,
    timeout: int,
    role: str | None,
    bucket: str | None,
    region: str | None,
    profile: str | None,
) -> None:
    """Create or update the Lambda function NAME, and test it.

    lambdamap, the requirements and the modules are packed for the function's Python without Docker.
    Running the command again updates what has changed. A function that lambdamap did not create is
    not touched.

    ./dev wheel in lambdamap's source folder makes the wheel. Without --wheel, lambdamap is packed as
    installed here, or from the package index that it was installed from. A note is printed if the
    function will not be able to call map on Lambda itself.
    """
    from lambdamap.deploy import package
    from lambdamap.deploy.account import Account, Wanted, caller_policy, check_name

    if image is not None and (requirements or wheel):
        raise click.UsageError(
            "--image cannot be combined with --requirements or --wheel: it contains its packages"
        )
    try:
        check_name(name)
        kind = package.Runtime.of(runtime, architecture)
        environment = environment_of(modules, allow, by_value)
        _say(f"callers may run {_allowed(environment)}")
        account = Account(region, profile, say=_say)
        archive = None
        if image is None:
            archive = package.zipped(
                kind,
                requirements=requirements,
                modules=modules,
                wheel=wheel,
                max_bytes=None if bucket else package.MAX_DIRECT_BYTES,
                say=_say,
            )
        done = account.deploy(
            Wanted(name, kind, archive, image, memory, timeout, environment, role, bucket)
        )
    except LambdaMapError as error:
        raise click.ClickException(str(error)) from error
    works = _try(name, done.region, profile)
    _say("")
    click.echo(
        "# Callers need this policy, and these variables (or the same with lambdamap.configure):"
    )
    for line in json.dumps(caller_policy(done.arn), indent=2).splitlines():
        click.echo(f"#   {line}")
    click.echo(f"export LAMBDAMAP_FUNCTION={shlex.quote(name)} AWS_REGION={done.region}")
    if not works:
        raise click.ClickException(
            f"{name} is deployed, but its test failed (see above): check its log in CloudWatch, "
            f"/aws/lambda/{name}"
        )


def _try(name: str, region: str, profile: str | None) -> bool:
    """Test a function by a DryRun and an invocation, and return whether it works."""
    from lambdamap.cli.doctor import Finding, examine
    from lambdamap.options import resolve

    findings: list[Finding] = []
    options = resolve(function=name, region=region, profile=profile, backend="aws")
    examine(findings.append, options)
    for finding in findings:
        if finding.subject in ("function", "worker") or finding.state == "FAIL":
            _say(in_options(str(finding)))
    return all(finding.state != "FAIL" for finding in findings)


def _say(text: str) -> None:
    click.echo(text, err=True)
