"""The workflows do what anybody can do here: they run tasks of ./dev, with few rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TASKS = re.findall(r"^task_(\w+)\(\)", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE)
SET_UP = re.compile(r"apt-get (update|install --no-install-recommends -y [\w. -]+)|git config .+")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield f"{path.stem}-{name}", job


JOBS = dict(jobs())
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def commands(job: dict[str, Any]) -> Iterator[str]:
    """Each line that a job runs, once for each value of a matrix that stands in it."""
    matrix = job.get("strategy", {}).get("matrix", {})
    for step in job["steps"]:
        for line in step.get("run", "").splitlines():
            name = re.search(r"\$\{\{ matrix\.(\w+) \}\}", line)
            values = matrix[name[1]] if name else [""]
            yield from (line.replace(name[0], value) if name else line for value in values)


@each_job
def test_a_job_runs_tasks_of_the_runner_alone(job: dict[str, Any]) -> None:
    lines = list(commands(job))
    tasks = [line.split()[1] for line in lines if line.startswith("./dev ")]
    assert tasks and set(tasks) <= set(TASKS)
    others = [line for line in lines if not line.startswith("./dev ")]
    assert [line for line in others if not SET_UP.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] > 0
    assert "secrets." not in path.read_text(encoding="utf-8")
    assert "pull_request_target" not in path.read_text(encoding="utf-8")


@each_job
def test_actions_are_pinned(job: dict[str, Any]) -> None:
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})", name) for name in used)


@each_job
def test_what_others_write_is_in_no_command(job: dict[str, Any]) -> None:
    """The name of a branch or the title of an issue could be a command."""
    assert [line for line in commands(job) if "${{" in line] == []


@pytest.mark.parametrize("name", ["test-python", "wheels-wheel"])
def test_every_python_of_the_package_is_there(name: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pythons = re.findall(r"Programming Language :: Python :: (3\.\d+)", project)
    assert JOBS[name]["strategy"]["matrix"]["python"] == pythons


def test_what_every_change_must_pass_is_run() -> None:
    """The tasks of .ci/run, apart from the one that makes its own Debian."""
    wanted = re.findall(r"^\./dev (\w+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    run = {line for name, job in JOBS.items() if name.startswith("test-") for line in commands(job)}
    assert {f"./dev {task}" for task in wanted if task != "fresh"} <= run


def test_the_hook_runs_a_task() -> None:
    (repo,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    (hook,) = repo["hooks"]
    assert (repo["repo"], hook["language"], hook["pass_filenames"]) == ("local", "system", False)
    command, task = hook["entry"].split()
    assert command == "./dev" and task in TASKS


def test_a_bug_report_asks_for_what_is_needed() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = load(path)
        assert {"name", "description", "body"} <= set(form)
    bug = load(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")
    fields = {part["id"]: part for part in bug["body"] if part["type"] != "markdown"}
    assert {"doctor", "ran", "versions"} <= set(fields)
    assert {"NOT", "MAYBE", "RAN"} <= set(fields["ran"]["attributes"]["options"])
    assert all(isinstance(option, str) for option in fields["ran"]["attributes"]["options"])
