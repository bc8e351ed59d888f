"""A Dockerfile for a function that is too large for a zip, or needs more than wheels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lambdamap.deploy.account import HANDLER
from lambdamap.deploy.package import Runtime, find_module
from lambdamap.errors import ConfigError

__all__ = ["dockerfile"]


def dockerfile(
    runtime: Runtime,
    *,
    requirements: str | None = None,
    modules: Sequence[str] = (),
    wheel: str | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """The text of a Dockerfile on AWS's base image for the runtime.

    Parameters
    ----------
    runtime
        Python and processor.
    requirements, modules
        As for `lambdamap.deploy.package.build`; they are to be in the folder that is built from.
    wheel
        lambdamap's; default: ``lambdamap-*.whl`` in that folder.
    environment
        Variables to set.

    Raises
    ------
    ConfigError
        A module that is not there, or an image too old for lambdamap's wheel.
    """
    if not runtime.is_al2023:
        raise ConfigError(
            f"the image of {runtime.name} has glibc 2.{runtime.glibc_minor}, and pip does not install "
            "lambdamap's wheel below 2.34: pass --runtime python3.12 or later"
        )
    platform = "linux/arm64" if runtime.architecture == "arm64" else "linux/amd64"
    wheel = wheel or "lambdamap-*.whl"
    lines = [
        "# Build in a folder that holds what is copied below; lambdamap's wheel is made by ./dev wheel.",
        f"#   docker build --platform {platform} --provenance=false -t NAME .",
        f"FROM public.ecr.aws/lambda/python:{runtime.python}",
        f"COPY {wheel} /tmp/",
    ]
    install = "/tmp/lambdamap-*.whl" if "*" in wheel else f"/tmp/{Path(wheel).name}"
    if requirements is not None:
        lines.append(f"COPY {requirements} /tmp/{Path(requirements).name}")
        install += f" -r /tmp/{Path(requirements).name}"
    lines.append(f"RUN pip install --no-cache-dir {install}")
    for name in modules:
        path = find_module(name)
        target = f"${{LAMBDA_TASK_ROOT}}/{path.name}/" if path.is_dir() else "${LAMBDA_TASK_ROOT}/"
        lines.append(f"COPY {path.name} {target}")
    lines += [f'ENV {name}="{value}"' for name, value in (environment or {}).items()]
    lines.append(f'CMD ["{HANDLER}"]')
    return "\n".join(lines) + "\n"
