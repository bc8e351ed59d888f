"""examples/flask_app under gunicorn: the flights as CSV through it, compared with pandas."""

from __future__ import annotations

import csv
import functools
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gunicorn_service import Service
from lambdamap.cli.flights import read_flights

pd = pytest.importorskip("pandas")
pytest.importorskip("flask")
pytest.importorskip("gunicorn")

APPLICATION = Path(__file__).parents[2] / "examples" / "flask_app"


@pytest.fixture(
    scope="module",
    params=[(False, "builtin"), (True, "builtin"), (True, "awslambdaric")],
    ids=["plain", "preload", "preload-awslambdaric"],
)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    preload, kind = request.param
    if kind == "awslambdaric":
        pytest.importorskip("awslambdaric")
    running = Service(
        tmp_path_factory.mktemp("gunicorn"),
        "app:app",
        *("--workers=2", "--timeout=120", f"--chdir={APPLICATION}"),
        *["--preload"] * preload,
        environment={"LAMBDAMAP_LOCAL": kind, "LAMBDAMAP_REQUEST_TIMEOUT": "110"},
    )
    try:
        yield running
    finally:
        running.stop()


def put(service: Service, body: bytes, **query: object) -> tuple[int, str]:
    return service.request("PUT", "/", body, **query)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    frame: pd.DataFrame = read_flights()[["tailnum", "arr_delay", "distance"]]
    return frame


def expected(frame: pd.DataFrame, id_column: str, value_column: str) -> pd.DataFrame:
    groups = frame.groupby(id_column)[value_column]
    made = [{"id": key, "result": pd.Series(list(group)).sum()} for key, group in groups]
    return pd.DataFrame(made)


def read_result(text: str) -> pd.DataFrame:
    rows = list(csv.DictReader(io.StringIO(text)))
    frame = pd.read_csv(io.StringIO(text))
    frame["result"] = [float(row["result"]) for row in rows]  # to the last bit
    return frame


def test_the_flights(service: Service, flights: pd.DataFrame) -> None:
    body = flights.to_csv().encode()
    status, text = put(
        service,
        body,
        chunksize=100,
        id_column="tailnum",
        value_column="arr_delay",
        compression=True,
    )
    assert status == 200, text
    result = read_result(text)
    assert len(result) == 4043
    pd.testing.assert_frame_equal(
        result, expected(flights, "tailnum", "arr_delay"), check_exact=True
    )


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"chunksize": 1},
        {"chunksize": "auto"},
        {"compression": "True"},
        {"invoke_lambda": "False"},
        {"invoke_lambda": "False", "compression": "True"},
    ],
)
def test_the_query(service: Service, query: dict[str, object]) -> None:
    frame = pd.DataFrame({"id": [3, 1, 2] * 20, "time": range(60), "value": [0.1, 0.2, 1e300] * 20})
    status, text = put(service, frame.to_csv().encode(), **query)
    assert status == 200, text
    pd.testing.assert_frame_equal(
        read_result(text), expected(frame, "id", "value"), check_exact=True
    )


def test_more_requests_at_once_than_workers(service: Service) -> None:
    from concurrent.futures import ThreadPoolExecutor

    bodies = [f"id,value\n1,{n}\n2,{n + 1}\n".encode() for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(functools.partial(put, service), bodies))
    assert answers == [(200, f"id,result\n1,{n}\n2,{n + 1}\n") for n in range(8)]


@pytest.mark.parametrize(
    ("query", "body", "says"),
    [
        ({"chunksize": 0}, b"id,value\n1,2\n", "chunksize"),
        ({"chunksize": -3}, b"id,value\n1,2\n", "'-3'"),
        ({"chunksize": "many"}, b"id,value\n1,2\n", "'many'"),
        ({"chunksize": ""}, b"id,value\n1,2\n", "chunksize"),
        ({"chunksize": "9" * 50}, b"id,value\n1,2\n", "chunksize"),
        ({"compression": "yes"}, b"id,value\n1,2\n", "compression"),
        ({"invoke_lambda": "1"}, b"id,value\n1,2\n", "invoke_lambda"),
        ({"id_column": "tailnum"}, b"id,value\n1,2\n", "no column 'tailnum' (id_column)"),
        ({"value_column": "delay"}, b"id,value\n1,2\n", "no column 'delay' (value_column)"),
        ({}, b"id,value\n1,two\n", "more than numbers"),
        ({}, b"", "empty"),
        ({}, b"  \n", "empty"),
        ({}, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not CSV"),
        ({}, b"\xff\xfe\xfa", "not CSV"),
        ({}, b'{"id": 1, "value": 2}', "no column 'id'"),
        ({}, b"id,value\n1,2\n3,4,5,6\n", "not CSV"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    service: Service, query: dict[str, object], body: bytes, says: str
) -> None:
    status, text = put(service, body, **query)
    assert status == 400, text
    assert says in text
    assert "Traceback" not in text


def test_a_map_that_takes_too_long_is_told() -> None:
    code = (
        "from app import app; app.config['LAMBDAMAP_REQUEST_TIMEOUT'] = 1e-6; "
        "answer = app.test_client().put('/', data=b'id,value\\n1,2\\n'); "
        "print(answer.status_code, answer.text)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=APPLICATION, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("504 not finished in time, 0 groups were")
    assert "LAMBDAMAP_REQUEST_TIMEOUT" in ran.stdout
