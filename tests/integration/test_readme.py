"""README.md: its Python blocks run, its prints print what the comments say, its links lead somewhere.

A block after the line ``<!-- not run: REASON -->`` is only compiled.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lambdamap

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^\n]+ -->\n)?(?P<indent> *)```python\n(?P<code>.*?)\n *```", re.DOTALL
)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def blocks(*, run: bool) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        code = re.sub(f"^{block['indent']}", "", block["code"], flags=re.MULTILINE)
        if run == (block["mark"] is None):
            found.append(code)
    return found


@pytest.mark.parametrize("kind", ["builtin", "awslambdaric"])
def test_the_blocks_run_as_one_script_and_print_what_they_say(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("pandas")
    if kind == "awslambdaric":
        pytest.importorskip("awslambdaric")
    script = tmp_path / "from_readme.py"
    script.write_text("\n\n".join(blocks(run=True)), encoding="utf-8")
    package_root = str(Path(lambdamap.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH", "")
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, inherited])),
        "LAMBDAMAP_LOCAL": kind,
    }
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == PRINTED.findall(script.read_text(encoding="utf-8"))


def test_the_blocks_that_do_not_run_are_python_at_least() -> None:
    for code in blocks(run=False):
        compile(code, "README.md", "exec")


def test_no_block_is_overlooked() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(blocks(run=True)) + len(blocks(run=False)) == text.count("```python\n")
    assert len(blocks(run=True)) >= 3


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_into_the_tree_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_every_option_is_in_the_table() -> None:
    import dataclasses

    from lambdamap.options import Options

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Options):
        assert f"`{field.name}`" in text, field.name


def test_every_exception_is_in_the_table() -> None:
    from lambdamap import errors

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, Exception) and not name.startswith("_"):
            assert f"`{name}`" in text, name
