"""lambdamap.integrations.flask: options, time and end of a request, with Flask's test client and under
gunicorn."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, stream_with_context

import lambdamap
import tasks
from gunicorn_service import Service
from lambdamap import ambient, options
from lambdamap.integrations import request as request_module
from lambdamap.integrations.flask import LambdaMap
from leaks import native_state

HANG_GUARD_S = 60


def make(**config: Any) -> Flask:
    app = Flask(__name__)
    app.testing = True
    app.config["LAMBDAMAP_BACKEND"] = "inline"
    app.config.update(config)
    LambdaMap(app)
    return app


# --- options --------------------------------------------------------------------------------------


class TestOptions:
    def test_what_the_configuration_says_holds_in_its_contexts_only(self) -> None:
        app = make(LAMBDAMAP_CHUNKSIZE="7", LAMBDAMAP_MAX_ATTEMPTS=2, OTHER=1)
        with app.app_context():
            found = options.resolve()
            assert (found.chunksize, found.max_attempts, found.backend) == (7, 2, "inline")
            assert found.timeout is None  # no request, no limit
        assert options.resolve() == lambdamap.Options()

    def test_which_of_them_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAMBDAMAP_CHUNKSIZE", "1")
        monkeypatch.setenv("LAMBDAMAP_MAX_ATTEMPTS", "9")
        app = make(LAMBDAMAP_CHUNKSIZE=2)
        monkeypatch.setattr(options, "_set", ())
        lambdamap.configure(chunksize=3)
        with app.app_context():
            assert options.resolve().chunksize == 2
            assert options.resolve().max_attempts == 9
            with lambdamap.configure(chunksize=4):
                assert options.resolve().chunksize == 4
                assert options.resolve(chunksize=5).chunksize == 5
        assert options.resolve().chunksize == 3

    def test_each_application_has_its_own(self) -> None:
        one, two = make(LAMBDAMAP_CHUNKSIZE=1), make(LAMBDAMAP_CHUNKSIZE=2)
        with one.app_context():
            with two.app_context():
                assert options.resolve().chunksize == 2
            assert options.resolve().chunksize == 1

    def test_the_factory_pattern_and_defaults(self) -> None:
        extension = LambdaMap(chunksize=8, max_attempts=4)
        app = Flask(__name__)
        app.config["LAMBDAMAP_CHUNKSIZE"] = 9
        extension.init_app(app)
        with app.app_context():
            assert (options.resolve().chunksize, options.resolve().max_attempts) == (9, 4)
        assert app.extensions["lambdamap"] is extension

    def test_the_configuration_is_read_when_a_map_is_called(self) -> None:
        app = make()
        app.config["LAMBDAMAP_CHUNKSIZE"] = 3
        with app.app_context():
            assert options.resolve().chunksize == 3

    def test_from_prefixed_env(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FLASK_LAMBDAMAP_CHUNKSIZE", "12")
        monkeypatch.setenv("FLASK_LAMBDAMAP_FUNCTION", "somebody")
        app = Flask(__name__)
        app.config.from_prefixed_env()
        LambdaMap(app)
        with app.app_context():
            assert (options.resolve().chunksize, options.resolve().function) == (12, "somebody")

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("LAMBDAMAP_CHUNKSZE", 3, "unknown option 'chunksze'"),
            ("LAMBDAMAP_CHUNKSIZE", 0, "chunksize must"),
            ("LAMBDAMAP_CHUNKSIZE", "many", "LAMBDAMAP_CHUNKSIZE must"),
            ("LAMBDAMAP_REQUEST_TIMEOUT", 0, "above 0"),
            ("LAMBDAMAP_REQUEST_TIMEOUT", "soon", "'soon'"),
            ("LAMBDAMAP_REQUEST_TIMEOUT", True, "True"),
            ("LAMBDAMAP_REQUEST_TIMEOUT", float("nan"), "nan"),
        ],
    )
    def test_what_cannot_be_is_refused_at_once(self, key: str, value: Any, says: str) -> None:
        with pytest.raises(lambdamap.ConfigError, match=says):
            make(**{key: value})

    def test_twice(self) -> None:
        app = make()
        with pytest.raises(lambdamap.ConfigError, match="already"):
            LambdaMap(app)

    def test_the_worker_s_own_variable_may_stand_there(self) -> None:
        app = make(LAMBDAMAP_ALLOW="mine:*")
        assert "allow" not in app.extensions["lambdamap"].options_of(app)


# --- time -----------------------------------------------------------------------------------------


def left_in_request(app: Flask, **environ: Any) -> float | None:
    """The timeout that a map gets which is called in a request of that application."""
    found: list[float | None] = []

    @app.get("/")
    def view() -> str:
        found.append(options.resolve().timeout)
        return ""

    assert app.test_client().get("/", environ_overrides=environ).status_code == 200
    return found[0]


class _Context:
    """Of Lambda's, what is used."""

    def __init__(self, left_ms: int) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


def gateway(age_s: float, key: str = "requestTimeEpoch", **more: Any) -> dict[str, Any]:
    return {"requestContext": {key: (1000 - age_s) * 1000, **more}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still at 1000."""
    still = SimpleNamespace(time=lambda: 1000.0, monotonic=lambda: 1000.0)
    monkeypatch.setattr(request_module, "time", still)
    monkeypatch.setattr(ambient, "monotonic", still.monotonic)


class TestTime:
    @pytest.mark.parametrize(
        ("config", "environ", "seconds"),
        [
            ({}, {}, 25),
            ({"LAMBDAMAP_REQUEST_TIMEOUT": 3}, {}, 3),
            ({"LAMBDAMAP_REQUEST_TIMEOUT": "90"}, {}, 90),
            ({"LAMBDAMAP_TIMEOUT": 4}, {}, 4),
            ({}, {"lambda.event": gateway(0)}, 28),
            ({}, {"lambda.event": gateway(10)}, 18),
            ({}, {"serverless.event": gateway(10, "timeEpoch")}, 18),
            ({}, {"apig_wsgi.full_event": gateway(10), "apig_wsgi.context": _Context(8000)}, 7.5),
            ({"LAMBDAMAP_REQUEST_TIMEOUT": 50}, {"lambda.event": gateway(10)}, 40),
            ({}, {"lambda.event": gateway(-3600)}, 28),  # a clock that is off
            ({}, {"lambda.event": gateway(3600)}, 28),  # an event that was kept
            ({}, {"lambda.event": {"requestContext": {}}}, 28),
            ({}, {"lambda.event": {"requestContext": {"elb": {}}}}, 25),
            ({}, {"lambda.event": gateway(9, domainName="x.lambda-url.eu-west-1.on.aws")}, 25),
            ({}, {"lambda.event": gateway(0), "lambda.context": _Context(20_000)}, 19),
            ({}, {"lambda.event": gateway(0), "lambda.context": _Context(4_000)}, 3.5),
        ],
    )
    @pytest.mark.usefixtures("clock")
    def test_what_a_map_gets(self, config: Any, environ: Any, seconds: float) -> None:
        assert left_in_request(make(**config), **environ) == pytest.approx(seconds)

    @pytest.mark.usefixtures("clock")
    @pytest.mark.parametrize(
        ("text", "config", "seconds"),
        [
            ("7", {}, 7),
            ("7", {"LAMBDAMAP_REQUEST_TIMEOUT": 8}, 8),
            (" ", {}, 25),
            ("none", {}, None),
        ],
    )
    def test_the_environment_stands_behind_the_configuration(
        self, monkeypatch: pytest.MonkeyPatch, text: str, config: Any, seconds: float | None
    ) -> None:
        monkeypatch.setenv("LAMBDAMAP_REQUEST_TIMEOUT", text)
        assert left_in_request(make(**config)) == seconds

    def test_the_environment_is_checked_when_the_extension_is_set_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LAMBDAMAP_REQUEST_TIMEOUT", "soon")
        with pytest.raises(lambdamap.ConfigError, match="'soon'"):
            make()

    def test_no_limit(self) -> None:
        assert left_in_request(make(LAMBDAMAP_REQUEST_TIMEOUT=None)) is None

    def test_an_argument_makes_it_shorter_and_never_longer(self) -> None:
        app = make(LAMBDAMAP_REQUEST_TIMEOUT=200)
        found = []

        @app.get("/")
        def view() -> str:
            found.extend(options.resolve(timeout=seconds).timeout for seconds in (1, 1000))
            return ""

        app.test_client().get("/")
        assert found[0] == 1
        assert found[1] is not None and found[1] <= 200

    def test_when_nothing_is_left(self) -> None:
        app = make(LAMBDAMAP_REQUEST_TIMEOUT=1e-6)

        @app.get("/")
        def view() -> str:
            time.sleep(0.01)
            with pytest.raises(
                lambdamap.DeadlineError, match="LAMBDAMAP_REQUEST_TIMEOUT"
            ) as caught:
                lambdamap.map(abs, [1])
            assert caught.value.ran == "NOT"
            return "told"

        assert app.test_client().get("/").text == "told"


# --- the end of a request -------------------------------------------------------------------------


def nothing_in_flight() -> bool:
    ends = time.monotonic() + HANG_GUARD_S
    while native_state()["in_flight"] and time.monotonic() < ends:
        time.sleep(0.01)
    return native_state()["in_flight"] == 0


class TestEnd:
    def test_what_it_left_running_is_cancelled(self) -> None:
        app = make(LAMBDAMAP_BACKEND="local", LAMBDAMAP_CHUNKSIZE=1)
        left = []

        @app.get("/")
        def view() -> str:
            left.append(lambdamap.map(tasks.sleep, [0.0, 60.0]))
            return str(next(left[0]))

        assert app.test_client().get("/").text == "0.0"
        assert nothing_in_flight()
        # Not StopIteration: its results are not complete.
        with pytest.raises(CancelledError, match="its HTTP request has ended"):
            next(left[0])

    @pytest.mark.parametrize("wrapper", [iter, stream_with_context])
    def test_a_stream_goes_on(self, wrapper: Callable[[Any], Any]) -> None:
        app = make(LAMBDAMAP_BACKEND="local", LAMBDAMAP_CHUNKSIZE=1)

        @app.get("/")
        def view() -> Any:
            results = lambdamap.map(tasks.square, range(40))
            return app.response_class(wrapper(f"{x}\n" for x in results))

        text = app.test_client().get("/").text
        assert text == "".join(f"{n * n}\n" for n in range(40))

    def test_what_had_come_when_it_ended_is_not_taken_for_everything(self) -> None:
        app = make(LAMBDAMAP_CHUNKSIZE=2)
        left = []

        @app.get("/")
        def view() -> str:
            left.append(lambdamap.map(tasks.square, range(5)))
            return ""

        app.test_client().get("/")
        with pytest.raises(CancelledError):
            list(left[0])

    def test_a_stream_whose_reader_hangs_up(self) -> None:
        app = make(LAMBDAMAP_BACKEND="local", LAMBDAMAP_CHUNKSIZE=1)
        left = []

        @app.get("/")
        def view() -> Any:
            left.append(lambdamap.map(tasks.sleep, [0.0, 60.0]))
            return app.response_class(f"{x}\n" for x in left[0])

        response = app.test_client().get("/")
        assert next(iter(response.iter_encoded())) == b"0.0\n"
        assert native_state()["in_flight"] > 0
        response.close()
        assert nothing_in_flight()

    def test_a_map_that_is_called_while_a_response_is_streamed(self) -> None:
        app = make(LAMBDAMAP_CHUNKSIZE=3)

        @app.get("/")
        def view() -> Any:
            def lines() -> Iterator[str]:
                yield f"{options.resolve().chunksize} "
                yield f"{(options.resolve().timeout or 99) < 26}"

            return app.response_class(stream_with_context(lines()))

        assert app.test_client().get("/").text == "3 True"

    def test_an_error_in_the_view(self) -> None:
        app = make(LAMBDAMAP_BACKEND="local", LAMBDAMAP_CHUNKSIZE=1)
        app.testing = False

        @app.get("/")
        def view() -> str:
            results = lambdamap.map(tasks.sleep, [0.0, 60.0])
            next(results)
            raise KeyError("mine", results)

        assert app.test_client().get("/").status_code == 500
        assert nothing_in_flight()

    def test_outside_of_a_request_maps_are_nobody_s(self) -> None:
        with make().app_context():
            results = lambdamap.map(tasks.square, range(3), chunksize=1)
        assert list(results) == [0, 1, 4]


def test_doctor_is_a_command_of_the_application() -> None:
    app = make(LAMBDAMAP_BACKEND="aws")
    result = app.test_cli_runner().invoke(args=["lambdamap", "doctor"])
    assert result.exit_code == 1
    assert "backend='aws' needs a function" in result.output  # the application's own option
    app.config["LAMBDAMAP_BACKEND"] = "local"
    result = app.test_cli_runner().invoke(args=["lambdamap", "doctor"])
    assert result.exit_code == 0, result.output


# --- gunicorn -------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[
        (),
        ("--worker-class=gthread", "--threads=4"),
        ("--worker-class=gthread", "--threads=4", "--preload"),
        ("--worker-class=gevent",),
    ],
    ids=["sync", "gthread", "gthread-preload", "gevent"],
)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    running = Service(
        tmp_path_factory.mktemp("gunicorn"),
        "flask_service:app",
        *("--workers=1", "--timeout=10"),
        *request.param,
        environment={"PYTHONPATH": str(Path(tasks.__file__).parent)},
    )
    try:
        yield running
    finally:
        running.stop()


def get(service: Service, path: str) -> tuple[int, str]:
    return service.request("GET", path)


def test_a_map_that_takes_too_long_does_not_cost_the_server_s_process(service: Service) -> None:
    assert get(service, "/sleep?seconds=0.3,0.3")[0] == 200  # both sandboxes are up
    pid = json.loads(get(service, "/process")[1])["pid"]
    assert get(service, "/timeout/3.0") == (200, "ok")
    try:
        # Longer than gunicorn waits for a silent worker.
        status, text = get(service, "/sleep?seconds=0,0,0,30")
        told = json.loads(text)
        assert status == 504, text
        assert told["partial"] == {"0": 0.0, "1": 0.0, "2": 0.0}
        assert told["ran"] in ("MAYBE", "NOT")
        assert "LAMBDAMAP_REQUEST_TIMEOUT" in told["says"]
    finally:
        get(service, "/timeout/25.0")
    assert json.loads(get(service, "/process")[1])["pid"] == pid == told["pid"]
    assert "WORKER TIMEOUT" not in service.log.read_text()


def test_what_a_request_left_is_gone(service: Service) -> None:
    assert get(service, "/leave") == (200, "0.0")
    found = json.loads(get(service, "/left")[1])
    assert found["in_flight"] == 0 and found["maps"] >= 1


def test_streams(service: Service) -> None:
    expected = "".join(f"{n * n}\n" for n in range(20))
    assert get(service, "/stream?context=1") == (200, expected)
    assert get(service, "/stream?context=0") == (200, expected)


def test_requests_at_once_share_one_dispatcher(service: Service) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(functools.partial(get, service), ["/sleep?seconds=0,0,0,0"] * 8))
    assert {status for status, _ in answers} == {200}
    first = json.loads(get(service, "/process")[1])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(functools.partial(get, service), ["/sleep?seconds=0,0,0,0"] * 8))
    assert json.loads(get(service, "/process")[1]) == first
