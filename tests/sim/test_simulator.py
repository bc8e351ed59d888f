"""The simulated dispatcher: many worlds, reproducible histories, deliberate bugs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import simulator
from places import ROOT

HERE = simulator.FOLDER
MUTANTS = sorted((HERE / "mutants").glob("*.patch"))
COUNT = 100_000  # simulated invocations
# Seeds that broke a promise once, and the mutants that have the same bug.
KEPT = {
    mutant: int(seed)
    for seed, mutant in (line.split() for line in (HERE / "seeds.txt").read_text().splitlines())
}


def make(*goal: str, compiler: str = "cc", sanitizer: str = "none") -> Path:
    return simulator.make(*goal, compiler=compiler, sanitizer=sanitizer) / "sim"


def run(sim: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sim, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=290,
    )


def test_no_promise_is_broken() -> None:
    done = run(make(), COUNT)
    assert re.fullmatch(r"\d+ invocations, \d+ seeds, 0 violations, \d+ .*", done.stdout.strip())
    assert done.returncode == 0


def test_no_memory_is_misused() -> None:
    done = run(make(sanitizer="asan"), COUNT // 10)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr


def test_a_fault_at_each_byte() -> None:
    """For each row of the fault matrix that its page calls swept."""
    done = run(make(), "sweep")
    assert re.fullmatch(r"\d{6} faults, 0 violations, .*", done.stdout.splitlines()[-1]), (
        done.stdout
    )
    swept = re.findall(r"^rows ([\d ]+): ", done.stdout, re.MULTILINE)
    page = (ROOT / "docs" / "fault-matrix.md").read_text()
    marked = re.findall(r"^\| (\d+) \|.*, swept \|$", page, re.MULTILINE)
    assert set(marked) == set(" ".join(swept).split())


def rows(source: Path, marker: str) -> set[tuple[int, str]]:
    """Return the status and type of each row of a table in C."""
    _, _, text = source.read_text().partition(marker)
    found = re.findall(r"\{(\d+), (?:\"([\w.()]+)\"|(\w+)),\s*(?:ROW|SIM_)", text)
    return {
        (int(status), name or {"NULL": "OTHER"}.get(word, word)) for status, name, word in found
    }


def test_lambda_says_all_that_is_known() -> None:
    """The simulated Lambda sends a reply for each row of the core's table of outcomes."""
    known = rows(ROOT / "csrc" / "core" / "policy" / "outcome.c", "struct rule API[]")
    said = rows(HERE / "errors.c", "sim_error refuses[]")
    assert len(known) > 80
    assert {(0, "OTHER")} < known  # a function error of any type
    assert {
        (status, "EMPTY" if name == "LM_TYPE_OF_EMPTY" else name) for status, name in known
    } <= said


@pytest.mark.parametrize(
    ("compiler", "sanitizer"), [("gcc", "none"), ("clang", "none"), ("cc", "asan")]
)
def test_a_seed_has_one_history(compiler: str, sanitizer: str) -> None:
    """To the byte, whatever has compiled it and wherever it runs: histories.txt has its digest.

    Over HTTP/2, on one machine only: its frames are those of the libnghttp2 that is there.
    """
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    sim = make(compiler=compiler, sanitizer=sanitizer)
    kept = dict(line.split() for line in (HERE / "histories.txt").read_text().splitlines())
    assert len(kept) == 40
    made = {}
    for seed in kept:
        done = run(sim, "replay", seed)
        assert done.stdout.endswith("every promise was kept\n") and done.returncode == 0
        assert done.stdout.count("\n") > 1
        made[seed] = hashlib.sha256(done.stdout.encode()).hexdigest()
    assert made == kept, (
        "after a deliberate change of the core or of the simulator: ./dev sim histories"
    )
    usual = make()
    others = [seed for seed in range(1, 100) if str(seed) not in kept][:15]
    over_http2 = 0
    for other in others:
        history = run(usual, "replay", other).stdout
        over_http2 += ": HTTP/2\n" in history
        assert run(sim, "replay", other).stdout == history
    assert over_http2 >= 10


def test_seeds_that_once_broke_a_promise() -> None:
    sim = make()
    for mutant, seed in KEPT.items():
        done = run(sim, "replay", seed)
        assert done.returncode == 0, mutant + done.stdout[-2000:]


def test_a_crash_names_its_seed() -> None:
    """Also one of which the process itself learns nothing: the kernel kills it for its memory."""
    with subprocess.Popen([make(), "100000000"], stdout=subprocess.PIPE, text=True) as sim:
        children = Path(f"/proc/{sim.pid}/task/{sim.pid}/children")
        while not children.read_text():
            time.sleep(0.01)
        time.sleep(0.2)  # the first worlds
        os.kill(int(children.read_text()), signal.SIGKILL)
        printed, _ = sim.communicate(timeout=60)
    assert re.fullmatch(r"seed \d+: crash: signal 9\n", printed)
    assert sim.returncode == 2


def test_each_promise_is_described() -> None:
    names = re.findall(
        r"^    \[\w+\] = \"([\w-]+)\",$", (HERE / "record.c").read_text(), re.MULTILINE
    )
    page = (ROOT / "docs" / "invariants.md").read_text()
    page, _, _ = page.partition("## The engine in Python")  # which has more
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == names


def test_there_are_ten_mutants() -> None:
    assert len(MUTANTS) >= 10


@pytest.mark.parametrize("patch", MUTANTS, ids=lambda path: path.stem)
def test_a_mutant_is_found(patch: Path, tmp_path: Path) -> None:
    """Its first line names the promises that it breaks, and says if only the sweep finds it."""
    promises, _, text = patch.read_text().partition("\n")
    swept = promises.endswith(" (sweep)")
    (source,) = re.findall(r"^--- a/csrc/core/(\S+)$", text, re.MULTILINE)
    mutant = tmp_path / source
    mutant.parent.mkdir()
    shutil.copy(ROOT / "csrc" / "core" / source, mutant)
    subprocess.run(
        ["git", "apply", "-p3", "-"], cwd=tmp_path, input=text, text=True, check=True, timeout=60
    )
    sim = tmp_path / "sim"
    make("mutant", f"MUTANT={mutant}", f"OF={source}", f"SIM={sim}")
    done = run(sim, "sweep" if swept else COUNT)
    assert done.returncode == 1, f"{patch.name} is not found"
    found = re.findall(r"^seed \d+: ([\w-]+): ", done.stdout, re.MULTILINE)
    assert found and set(found) <= set(promises.split()), done.stdout
    if patch.stem in KEPT:
        kept = run(sim, "replay", KEPT[patch.stem]).returncode == 1
        assert kept, f"the seed in seeds.txt shows another world now; take that of {done.stdout}"


@pytest.mark.soak
def test_a_fault_at_each_byte_misuses_no_memory() -> None:
    done = run(make(sanitizer="asan"), "sweep")
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.timeout(14400)
def test_a_hundred_million_invocations(capfd: pytest.CaptureFixture[str]) -> None:
    sim = make()
    halves = [subprocess.Popen([sim, "50000000", str(seed)]) for seed in (1_000_000, 2_000_000)]
    assert [half.wait() for half in halves] == [0, 0], capfd.readouterr().out
