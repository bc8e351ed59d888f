"""``lambdamap map`` and ``lambdamap invoke-map``: JSON lines over real pipes, a local Lambda behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import HANG_S, environment, run, start
from lambdamap.local import LocalLambda

COMMAND = (sys.executable, "-W", "error", "-m", "lambdamap")
LOCAL = ("--backend", "local")


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def parsed(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module", params=["builtin", "awslambdaric"])
def function(request: pytest.FixtureRequest) -> Iterator[LocalLambda]:
    with LocalLambda(
        kind=request.param, handler="tasks.handler", function_name="f", sandboxes=2, timeout_s=5
    ) as running:
        yield running


def reach(function: LocalLambda) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_LAMBDA": function.endpoint_url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": function.access_key,
        "AWS_SECRET_ACCESS_KEY": function.secret_key,
    }


# --- map ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["builtin", "awslambdaric"])
def test_results_in_order(kind: str) -> None:
    done = run("map", "tasks:square", *LOCAL, "--local", kind, text=lines(*range(500)))
    assert done.returncode == 0, done.stderr
    assert parsed(done.stdout) == [x * x for x in range(500)]
    assert done.stderr == ""


def test_files_blank_lines_and_what_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'\n1\r\n\n "two"\n   \n[3]')  # the last line has no end
    done = run("map", "tasks.say", str(file), *LOCAL)
    assert done.returncode == 0, done.stderr
    assert parsed(done.stdout) == [1, "two", [3]]
    assert "saying two" in done.stderr
    with file.open() as stdin:
        piped = subprocess.run(
            [*COMMAND, "map", "tasks:identity", *LOCAL],
            stdin=stdin, capture_output=True, text=True, timeout=HANG_S, env=environment(),
        )  # fmt: skip
    assert parsed(piped.stdout) == [1, "two", [3]]
    empty = run("map", "tasks:identity", os.devnull, *LOCAL)
    assert (empty.returncode, empty.stdout) == (0, "")


def test_answers_before_the_input_is_over() -> None:
    """Each line is answered while the next one has not been written."""
    with start("map", "tasks:square", *LOCAL, "--chunksize", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        guard = threading.Timer(HANG_S, process.kill)
        guard.start()
        for value in (3, 4, 5):
            process.stdin.write(f"{value}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{value * value}\n"
        process.stdin.close()
        assert process.wait(HANG_S) == 0
        guard.cancel()


def test_a_bad_line_is_told_before_the_input_is_over() -> None:
    with start("map", "tasks:square", *LOCAL, "--on-error", "return") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        guard = threading.Timer(HANG_S, process.kill)
        guard.start()
        process.stdin.write("{\n")
        process.stdin.flush()
        told = json.loads(process.stdout.readline())["lambdamap_error"]
        assert (told["line"], told["ran"]) == (1, "NOT")
        process.stdin.close()
        assert process.wait(HANG_S) == 1
        guard.cancel()


def test_nobody_reads_any_more() -> None:
    """As before `| head -2`, with an input that never ends: both ends come to theirs."""
    with (
        subprocess.Popen(["yes", "7"], stdout=subprocess.PIPE) as endless,
        subprocess.Popen(
            [*COMMAND, "map", "tasks:square", *LOCAL],
            stdin=endless.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process,
    ):
        assert endless.stdout is not None
        assert process.stdout is not None
        assert process.stderr is not None
        endless.stdout.close()
        assert [process.stdout.readline() for _ in range(2)] == ["49\n", "49\n"]
        process.stdout.close()
        assert process.wait(HANG_S) == 141
        assert "Traceback" not in process.stderr.read()
        assert endless.wait(HANG_S) == -signal.SIGPIPE


def test_the_disk_is_full() -> None:
    for words in (("map", "tasks:square", *LOCAL), ("doctor", "--backend", "inline"), ("--help",)):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*COMMAND, *words], input="1\n2\n", stdout=full, stderr=subprocess.PIPE, text=True,
                timeout=HANG_S, env=environment(), check=False,
            )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith("Error: cannot write the output: No space left on device")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal(number: signal.Signals, status: int, text: str) -> None:
    with start("map", "tasks:sleep", *LOCAL, "--chunksize", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("0\n0\n600\n")
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(2)] == ["0\n", "0\n"]
        process.send_signal(number)
        assert process.wait(HANG_S) == status
        assert process.stderr.read() == f"{text}: 2 lines written; 1 more may have run\n"


@pytest.mark.parametrize("words", [(), ("--keys",)])
def test_every_line_is_accounted_for_after_a_signal(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What has finished after a slow line is written with its number; what may have run is counted."""
    path = tmp_path / "runs"
    items = [[str(path), index, 0 if index else 600] for index in range(4)]
    options = (*LOCAL, "--chunksize", "1", "--max-concurrency", "4", *words)
    with start("map", "tasks:record_for", *options) as process:
        assert process.stdin is not None
        guard = threading.Timer(HANG_S, process.kill)
        guard.start()
        process.stdin.write(lines(*items))
        process.stdin.flush()
        while process.poll() is None and (not path.exists() or len(path.read_text().split()) < 3):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        guard.cancel()
    assert process.returncode == 130
    found = [line["lambdamap_result"] for line in parsed(out)]
    assert [(line["line"], line["result"]) for line in found] == [
        (line["line"], line["line"] - 1) for line in found
    ]
    assert 1 not in [line["line"] for line in found]
    if words:
        assert [line["input"] for line in found] == [items[line["line"] - 1] for line in found]
    order = f" ({len(found)} of them out of order, with line numbers)" if found else ""
    # The slow line may not have been sent yet; what has run has a result, or is counted.
    said = re.fullmatch(
        rf"interrupted: {len(found)} lines written{re.escape(order)}(?:; ([0-4]) more may have run)?\n",
        err,
    )
    assert said is not None, err
    ran = len(path.read_text().split())
    assert ran - len(found) <= int(said[1] or 0) <= len(items) - len(found)


def test_results_as_they_finish() -> None:
    """While an earlier line is slow; with the number and the text of the line."""
    words = ("--unordered", "--keys", "--chunksize", "1", "--on-error", "return")
    with start("map", "tasks:sleep", *LOCAL, *words) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        guard = threading.Timer(HANG_S, process.kill)
        guard.start()
        process.stdin.write('600\n0\n{\n"x"\n')
        process.stdin.flush()
        found = sorted(parsed("".join(process.stdout.readline() for _ in range(3))), key=str)
        bad, failed = sorted(
            (line["lambdamap_error"] for line in found[:2]), key=lambda error: error["line"]
        )
        assert (bad["line"], bad["input"], bad["type"]) == (3, "{", "JSONDecodeError")
        assert (failed["line"], failed["input"], failed["type"]) == (4, '"x"', "TypeError")
        assert found[2] == {"lambdamap_result": {"line": 2, "input": 0, "result": 0}}
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_S) == 143
        guard.cancel()


def test_errors_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "errors.jsonl"
    data = lines(6, 7) + "nonsense\n" + lines(8)
    done = run("map", "tasks:fail_at_seven", *LOCAL, "--errors", str(file), text=data)
    assert (done.returncode, done.stderr) == (1, "2 of 4 lines failed\n")
    assert parsed(done.stdout) == [6, 8]
    errors = [line["lambdamap_error"] for line in parsed(file.read_text())]
    assert [(error["line"], error["ran"]) for error in errors] == [(2, "RAN"), (3, "NOT")]
    nowhere = str(tmp_path / "nowhere" / "file")
    refused = run("map", "tasks:square", *LOCAL, "--errors", nowhere, text=data)
    assert refused.returncode == 2
    assert f"cannot write {nowhere}: No such file or directory" in refused.stderr


def test_the_first_error_stops() -> None:
    data = "\n" + lines(*range(20))
    done = run("map", "tasks:fail_at_seven", *LOCAL, "--chunksize", "2", text=data)
    assert done.returncode == 1
    found = parsed(done.stdout)
    assert found[:7] == list(range(7))
    assert all(line["lambdamap_result"]["result"] > 7 for line in found[7:])
    assert done.stderr.splitlines()[-1].startswith(f"{len(found)} lines written")
    assert done.stderr.startswith("Error: line 9: ValueError: ('seven is out', 7)\n")
    assert "tasks.py" in done.stderr  # the remote traceback
    builtin = run("map", "math:sqrt", *LOCAL, text='"a"\n')
    assert builtin.stderr == "Error: line 1: TypeError: must be real number, not str\n"
    bad = run("map", "tasks:identity", *LOCAL, text="1\n2\nthree\n4\n")
    assert bad.returncode == 1
    assert parsed(bad.stdout) == [1, 2]
    assert bad.stderr.startswith("Error: line 3 is not JSON")


def test_errors_in_their_places() -> None:
    data = lines(6, 7) + "nonsense\n" + lines(8, {"x": 1}) + "{"
    done = run("map", "tasks:fail_at_seven", *LOCAL, "--on-error", "return", text=data)
    assert done.returncode == 1
    found = parsed(done.stdout)
    assert [found[0], *found[3:5]] == [6, 8, {"x": 1}]
    errors = [found[place]["lambdamap_error"] for place in (1, 2, 5)]
    assert [(error["line"], error["type"], error["ran"]) for error in errors] == [
        (2, "ValueError", "RAN"),
        (3, "JSONDecodeError", "NOT"),
        (6, "JSONDecodeError", "NOT"),
    ]
    assert done.stderr == "3 of 6 lines failed\n"


def test_a_chunk_that_is_lost_names_its_lines() -> None:
    done = run("map", "tasks:die", *LOCAL, "--chunksize", "3", text="\n" + lines(1, 1, 1))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: lines 2 to 4: Runtime.ExitError")


def test_results_that_json_has_no_form_for() -> None:
    done = run("map", "numpy:float64", *LOCAL, text=lines(1, 2.5))
    assert done.stdout == "1.0\n2.5\n"
    many = run("map", "numpy:arange", *LOCAL, text=lines(3))
    assert parsed(many.stdout) == [[0, 1, 2]]
    none = run("map", "builtins:complex", *LOCAL, text=lines(1, 2))
    assert none.returncode == 1
    assert (
        "line 1: the result cannot be converted to JSON: JSON does not support complex"
        in none.stderr.replace("TypeError: ", "")
    )
    kept = run("map", "builtins:complex", *LOCAL, "--on-error", "return", text=lines(1))
    error = parsed(kept.stdout)[0]["lambdamap_error"]
    assert (error["type"], error["ran"]) == ("TypeError", "RAN")
    # An exception that f returns is a result, not a failure.
    returned = run("map", "builtins:ValueError", *LOCAL, text=lines(1))
    assert returned.returncode == 1 and returned.stdout == ""
    assert "line 1: the result cannot be converted to JSON" in returned.stderr


def test_options_are_written_as_in_the_environment() -> None:
    """The default too; the command line wins over the environment."""
    words = ("--chunksize", "auto", "--no-progress", "--timeout", "60")
    for variable in ({}, {"LAMBDAMAP_CHUNKSIZE": "3"}):
        done = run("map", "tasks:square", *LOCAL, *words, text=lines(1, 2), **variable)
        assert (done.returncode, done.stderr) == (0, "")
        assert parsed(done.stdout) == [1, 4]


def test_arguments_and_a_function_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "print('imported')\nclass A:\n    @staticmethod\n    def add(x, y): return x + y\n"
    (tmp_path / "own.py").write_text(source)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "other.py").write_text(source)
    for path in (
        "own:A.add",
        "./own.py:A.add",
        str(tmp_path / "own.py:A.add"),
        "inner/other.py:A.add",
    ):
        done = run("map", path, "--star", *LOCAL, text=lines([1, 2], ["a", "b"]))
        assert done.returncode == 0, done.stderr
        assert parsed(done.stdout) == [3, "ab"]
        assert "imported" in done.stderr
    outside = run("map", "/nowhere/own.py:f")
    assert outside.returncode == 2
    assert "not below the working directory: run it in /nowhere, as own:..." in outside.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nowhere:f",), "cannot import nowhere"),
        (("tasks:nothing",), "tasks has no nothing"),
        (("tasks:squared",), "tasks has no squared; did you mean square?"),
        (("tasks:os.sep",), "not callable"),
        (("square",), "use module:function"),
        (("tasks:square", "/nowhere"), "does not exist"),
        (("tasks:square", "--chunksize", "0"), "--chunksize must be"),
        (("tasks:square", "--function", "a b"), "--function must be"),
        (("tasks:square", "--backend", "aws"), "needs a function: pass --function, or set"),
        (("tasks:square", "--function", "f"), "no AWS region: pass --region, or set AWS_REGION"),
        (("tasks:square", "--function", "f", "--profile", "nobody"), "aws configure list-profiles"),
    ],
)
def test_what_cannot_work(words: tuple[str, ...], text: str) -> None:
    done = run("map", *words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_progress_is_on_stderr() -> None:
    done = run("map", "tasks:square", *LOCAL, "--progress", text=lines(*range(9)))
    assert parsed(done.stdout) == [x * x for x in range(9)]
    assert "9item" in done.stderr


# --- invoke-map ---------------------------------------------------------------------------------


def test_replies_in_order(function: LocalLambda) -> None:
    events = [{"n": n} for n in range(30)]
    done = run("invoke-map", "f", text=lines(*events), **reach(function))
    assert done.returncode == 0, done.stderr
    assert [reply["event"] for reply in parsed(done.stdout)] == events


def test_errors_of_invocations(function: LocalLambda) -> None:
    data = lines(1, {"raise": True}, {"exit": 3}, 4) + "nonsense\n" + lines(6)
    done = run("invoke-map", "f", "--on-error", "return", text=data, **reach(function))
    assert done.returncode == 1
    found = parsed(done.stdout)
    assert [found[place]["event"] for place in (0, 3, 5)] == [1, 4, 6]
    errors = [found[place]["lambdamap_error"] for place in (1, 2, 4)]
    assert [(error["line"], error["type"], error["ran"]) for error in errors] == [
        (2, "ValueError", "RAN"),
        (3, "WorkerCrashedError", "RAN"),
        (5, "JSONDecodeError", "NOT"),
    ]
    assert "3 of 6 lines failed" in done.stderr
    stops = run("invoke-map", "f", text=lines(1, {"raise": True}, 3), **reach(function))
    assert stops.returncode == 1
    first, *later = parsed(stops.stdout)
    assert first["event"] == 1
    assert [line["lambdamap_result"]["line"] for line in later] in ([], [3])
    assert stops.stderr.startswith("Error: line 2: ")
    assert "boom" in stops.stderr


def test_no_such_function(function: LocalLambda) -> None:
    for words in ((), ("--on-error", "return")):
        done = run("invoke-map", "g", *words, text=lines(*range(100)), **reach(function))
        assert done.returncode == 2
        assert done.stdout == ""
        assert "check the function's name" in done.stderr


def test_replies_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers keep their digits; a reply of several lines becomes one."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raw.py").write_text("def go(event, context): return {'x': event}\n")
    with LocalLambda(handler="raw.go", function_name="f", sandboxes=1) as function:
        done = run("invoke-map", "f", text='  1.10 \n"a\\nb"\n', **reach(function))
    assert parsed(done.stdout) == [{"x": 1.1}, {"x": "a\nb"}]
