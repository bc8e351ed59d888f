"""The notebooks of examples/, each executed in a kernel of its own."""

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

Cells = dict[str, Any]


def executed(path: Path, kind: str) -> Cells:
    """The code cells by their id, with what they show."""
    package_root = str(Path(lambdamap.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMBDAMAP_LOCAL", kind)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package_root, inherited])))
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
        ).execute()
    cells = {cell["id"]: cell for cell in notebook.cells if cell["cell_type"] == "code"}
    cells["widgets"] = str(notebook.metadata.get("widgets"))
    return cells


def text_of(cell: Any) -> str:
    """Everything that a cell shows, as text."""
    parts = []
    for output in cell["outputs"]:
        parts.append(output.get("text", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
        parts.extend(output.get("traceback", []))
    return "\n".join(parts)


def test_nothing_is_kept_that_was_shown() -> None:
    for path in EXAMPLES.rglob("*.ipynb"):
        assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)


# --- a data scientist with a DataFrame ----------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=["builtin", pytest.param("awslambdaric", marks=pytest.mark.soak)],
)
def flights(request: pytest.FixtureRequest) -> Cells:
    return executed(EXAMPLES / "notebook.ipynb", request.param)


def test_groups_give_pandas_own_table(flights: Cells) -> None:
    table = text_of(flights["grouped"])
    assert "ORD" in table and "worst_hundred" in table
    assert "105 equal rows" in text_of(flights["pandas"])
    assert "105/105" in flights["widgets"]


def test_prints_and_edits(flights: Cells) -> None:
    assert "] HNL: one flight was 21 hours late" in text_of(flights["define"])
    assert "delay" in text_of(flights["redefined"])


def test_the_error_shows_the_group_and_the_remote_traceback(flights: Cells) -> None:
    shown = text_of(flights["fails"])
    assert "idxmax" in shown
    assert "item 51 is the group 'LGA'" in shown
    assert shown.count("Traceback") >= 2  # the one here and the one from the worker
    assert "item (51,) - ran there: RAN" in text_of(flights["one-item"])


def test_failed_groups_can_be_returned(flights: Cells) -> None:
    assert "105 answers, 1 of them an exception:\nLGA" in text_of(flights["returned"])
    assert "items" in flights["stats"]["outputs"][0]["data"]["text/html"]


# --- a Flask developer with an application to deploy --------------------------------------------


@pytest.fixture(
    scope="module",
    params=["awslambdaric", pytest.param("builtin", marks=pytest.mark.soak)],
)
def flask(request: pytest.FixtureRequest) -> Cells:
    pytest.importorskip("flask")
    return executed(EXAMPLES / "flask_app" / "notebook.ipynb", request.param)


def test_the_application_answers_alike_here_and_there(flask: Cells) -> None:
    assert "200 OK" in text_of(flask["client"]) and "0,315" in text_of(flask["client"])
    assert text_of(flask["inline"]).strip().endswith("True")
    assert "bytes_sent" in text_of(flask["map"])


def test_it_is_seen_what_a_deployed_worker_refuses(flask: Cells) -> None:
    assert "200 OK" in text_of(flask["deployed"])
    shown = text_of(flask["refused"])
    assert "doubled: this worker does not accept functions by value" in shown
    assert "does not allow df_utils:check_columns" in shown
    assert "ArithmeticError: no sum for 0" in text_of(flask["failed"])
