"""examples/notebook.ipynb, executed in a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import lambdamap

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module", params=["builtin", "awslambdaric"])
def cells(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The executed notebook's code cells by their id."""
    package_root = str(Path(lambdamap.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMBDAMAP_LOCAL", request.param)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package_root, inherited])))
        notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
        nbclient.NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(EXAMPLES)}},
        ).execute()
    return {cell["id"]: cell for cell in notebook.cells if cell["cell_type"] == "code"}


def text_of(cell: Any) -> str:
    """Everything that a cell shows, as text."""
    parts = []
    for output in cell["outputs"]:
        parts.append(output.get("text", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
        parts.extend(output.get("traceback", []))
    return "\n".join(parts)


def test_a_function_from_a_cell_maps_over_the_frames(cells: dict[str, Any]) -> None:
    assert "(105, 'ABQ'" in text_of(cells["items"])
    table = text_of(cells["map"])
    assert "ORD" in table and "worst_hundred" in table
    assert "105 equal rows" in text_of(cells["builtin"])


def test_the_progress_bar_is_shown(cells: dict[str, Any]) -> None:
    assert "105/105" in text_of(cells["map"])


def test_the_edited_function_is_the_one_that_runs(cells: dict[str, Any]) -> None:
    assert "'delay'" in text_of(cells["redefined"])


def test_the_error_shows_the_item_and_the_remote_traceback(cells: dict[str, Any]) -> None:
    shown = text_of(cells["fails"])
    assert "idxmax" in shown
    assert "item 51" in shown
    assert shown.count("Traceback") >= 2  # the one here and the one from the worker


def test_failed_items_can_be_returned(cells: dict[str, Any]) -> None:
    assert "105 answers, 1 of them an exception:\nLGA" in text_of(cells["returned"])
