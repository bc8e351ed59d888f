"""The README's way from its first snippet to AWS: what its deploy lines pack, run alone with the
settings that they give."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lambdamap
from alone import running_alone
from lambdamap.cli.deploy import deploy, environment_of
from lambdamap.deploy import package
from lambdamap.local import LocalLambda

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ON_AWS = README[README.index("### On AWS") : README.index("## When it fails")]
FIRST = re.search(r"```python\n(.+?)```", README, re.DOTALL)
BY_MODULE = re.search(r"```python\n(.+?)```", ON_AWS, re.DOTALL)
BY_VALUE_LINE, MODULE_LINE = re.findall(r"^lambdamap deploy .+$", ON_AWS, re.MULTILINE)
NAMES = ("LAMBDAMAP_ALLOW", "LAMBDAMAP_BY_VALUE")


@contextmanager
def deployed(line: str, place: Path) -> Iterator[LocalLambda]:
    """The function that a deploy line makes, on this machine."""
    context = deploy.make_context("deploy", shlex.split(line)[2:])
    asked = context.params
    variables = environment_of(asked["modules"], asked["allow"], asked["by_value"])
    folder, runtime = place / "function", place / "alone"
    folder.mkdir()
    runtime.mkdir()
    package.build(
        folder, package.Runtime.here(), requirements=asked["requirements"], modules=asked["modules"]
    )
    unset = [name for name in NAMES if name not in variables]
    name = asked["name"]
    with running_alone(folder, runtime, function_name=name, unset=unset, **variables) as function:
        yield function


def run(script: str, function: LocalLambda, place: Path) -> subprocess.CompletedProcess[str]:
    """A script of a user's in their folder, with the variables that the README exports."""
    (place / "script.py").write_text(script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=place,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(lambdamap.__file__).parents[1]),
            "LAMBDAMAP_FUNCTION": str(function.function_name),
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_LAMBDA": function.endpoint_url,
            "AWS_ACCESS_KEY_ID": function.access_key,
            "AWS_SECRET_ACCESS_KEY": function.secret_key,
            "AWS_SESSION_TOKEN": "",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user works."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def test_the_first_snippet_by_value(folder: Path, tmp_path: Path) -> None:
    assert FIRST is not None
    with deployed(BY_VALUE_LINE, tmp_path) as function:
        ran = run(FIRST[1], function, folder)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == re.findall(r"\)  # (.+)$", FIRST[1], re.MULTILINE)[-1]


def test_the_function_in_a_module(folder: Path, tmp_path: Path) -> None:
    assert FIRST is not None and BY_MODULE is not None
    definition = re.search(r"^def feature.+?(?=^\S(?!ef))", FIRST[1], re.DOTALL | re.MULTILINE)
    assert definition is not None
    (folder / "my_features.py").write_text(definition[0], encoding="utf-8")
    (folder / "requirements.txt").write_text("", encoding="utf-8")
    with deployed(MODULE_LINE, tmp_path) as function:
        ran = run(BY_MODULE[1], function, folder)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == re.findall(r"\)  # (.+)$", BY_MODULE[1], re.MULTILINE)[-1]
        # What the first snippet defines in a script is refused, and the text says what to do.
        ran = run(FIRST[1], function, folder)
    assert ran.returncode == 1
    assert "WorkerInitError: this worker does not accept functions by value" in ran.stderr
    assert "lambdamap deploy --by-value" in ran.stderr
