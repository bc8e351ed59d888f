"""README.md and docs/*.md: Python blocks run, prints print what the comments say, links lead somewhere.

The blocks of a page are one script. Marks are HTML comments, each on a line of its own:

``<!-- not run: REASON -->``
    before a block: it is only compiled.
``<!-- needs: MODULE, ... -->``
    anywhere: the page is skipped where one of these cannot be installed.
``<!-- runs against: moto -->``
    anywhere: boto3 talks to a moto server, whose account is empty.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lambdamap
from lambdamap.options import DECLARED
from moto_server import running_moto
from options_page import with_tables

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
DOCUMENTS = [
    *PAGES,
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*.md")),
]
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^\n]+ -->\n)?(?P<indent> *)```python\n(?P<code>.*?)\n *```", re.DOTALL
)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
NEEDS = re.compile(r"^<!-- needs: (.+) -->$", re.MULTILINE)
AGAINST = re.compile(r"^<!-- runs against: (.+) -->$", re.MULTILINE)
MANGUM = "ignore:There is no current event loop:DeprecationWarning:mangum.adapter"  # until 3.14
EITHER = ["builtin", "awslambdaric"]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *, run: bool) -> list[str]:
    found = []
    for block in BLOCK.finditer(read(page)):
        code = re.sub(f"^{block['indent']}", "", block["code"], flags=re.MULTILINE)
        if run == (block["mark"] is None):
            found.append(code)
    return found


def runs() -> list[object]:
    """Each page that has something to run; the README on both kinds of sandbox at once, the others
    on the second one when there is time."""
    return [
        pytest.param(
            page,
            kind,
            marks=[pytest.mark.soak] if page != "README.md" and kind != EITHER[0] else [],
        )
        for page in PAGES
        for kind in EITHER
        if blocks(page, run=True)
    ]


@pytest.mark.parametrize(("page", "kind"), runs())
def test_the_blocks_run_as_one_script_and_print_what_they_say(
    tmp_path: Path, page: str, kind: str
) -> None:
    for modules in NEEDS.findall(read(page)):
        for module in modules.split(","):
            pytest.importorskip(module.strip())
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(blocks(page, run=True)), encoding="utf-8")
    package_root = str(Path(lambdamap.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH", "")
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, inherited])),
        "LAMBDAMAP_LOCAL": kind,
    }
    against = AGAINST.findall(read(page))
    if not against:
        run_script(script, env)
        return
    assert against == ["moto"]
    with running_moto() as variables:
        run_script(script, {**env, **variables})


def run_script(script: Path, env: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-W", MANGUM, str(script)],
        cwd=script.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == PRINTED.findall(script.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_that_do_not_run_are_python_at_least(page: str) -> None:
    for code in blocks(page, run=False):
        compile(code, page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_overlooked(page: str) -> None:
    found = len(blocks(page, run=True)) + len(blocks(page, run=False))
    assert found == len(re.findall(r"^ *```python\b", read(page), re.MULTILINE))
    assert found >= 3 or page != "README.md"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_into_the_tree_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", read(document)):
        if "://" not in target:
            assert (folder / target).exists(), target


def table_rows(page: str, columns: int) -> dict[str, list[str]]:
    """Rows of the tables of so many columns: first cell without backquotes, then the others."""
    rows = {}
    for line in read(page).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|\n "))]
        if line.startswith("| `") and len(cells) == columns:
            rows[cells[0].strip("`")] = cells[1:]
    return rows


def test_the_tables_of_options_are_their_declarations() -> None:
    page = read("docs/options.md")
    assert with_tables(page) == page, "run tests/support/checks/options_page.py"
    assert list(table_rows("docs/options.md", 5)) == list(DECLARED)


def test_every_exception_is_described() -> None:
    """With a base, and nothing that is not there."""
    errors = importlib.import_module("lambdamap.errors")
    rows = table_rows("docs/errors.md", 4)
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and not name.startswith("_")
    }
    assert set(rows) == set(kinds)
    for name, kind in kinds.items():
        assert rows[name][0].strip("`") in {base.__name__ for base in kind.__mro__[1:]}, name
        assert set(rows[name][2].replace(" ", "").split(",")) <= {
            "any",
            "none",
            "NOT",
            "MAYBE",
            "RAN",
        }, name


def test_every_public_name_is_in_the_reference() -> None:
    text = read("docs/api.md")
    shown = set(re.findall(r"auto(?:function|class|exception):: (\w+)", text))
    assert {*lambdamap.__all__, "map"} - {"__version__"} <= shown


def test_every_command_is_described() -> None:
    from lambdamap.cli import COMMANDS

    assert list(table_rows("docs/command-line.md", 2)) == list(COMMANDS)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees"),
         str(ROOT / "docs"), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        timeout=110,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    for page in PAGES[1:]:
        assert (tmp_path / "site" / Path(page).name).with_suffix(".html").exists()
