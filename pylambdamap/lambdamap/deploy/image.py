"""A Dockerfile for functions that are too large for a zip, or need more than wheels."""

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
    """Return the text of a Dockerfile based on AWS's image for the runtime.

    Parameters
    ----------
    runtime
        The function's Python version and processor.
    requirements, modules
        As for `lambdamap.deploy.package.build`; they must be in the build folder.
    wheel
        lambdamap's wheel; default: ``lambdamap-*.whl`` in the build folder.
    environment
        Environment variables to set.

    Raises
    ------
    ConfigError
        A module does not exist, or the image is too old for lambdamap's wheel.
    """
    if not runtime.is_al2023:
        raise ConfigError(
            f"the image of {runtime.name} has glibc 2.{runtime.glibc_minor}, but lambdamap's wheel "
            "needs 2.34: pass --runtime python3.12 or later"
        )
    platform = "linux/arm64" if runtime.architecture == "arm64" else "linux/amd64"
    wheel = wheel or "lambdamap-*.whl"
    lines = [
        "# Build in a folder with the files copied below; ./dev wheel makes lambdamap's wheel.",
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
