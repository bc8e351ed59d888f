"""``lambdamap serve`` in its own process, with its handler called as by API Gateway."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.config import Config

__all__ = ["Served", "http_event", "read_answer", "rest_event"]

_HANG_GUARD_S = 90
NAME = "app"  # of the function


class Served:
    """A handler behind the Invoke API of a local Lambda, run by a given interpreter.

    Parameters
    ----------
    python
        Runs the server and the sandboxes.
    folder
        Its working directory, from which the handler is imported.
    path
        Further folders to import from.
    log
        A file for the output of the sandboxes.
    """

    def __init__(
        self,
        python: Path,
        folder: Path,
        handler: str,
        *arguments: str,
        path: tuple[Path, ...],
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *(python, "-m", "lambdamap", "serve", "--port=0", f"--handler={handler}"),
                    *(f"--function-name={NAME}", "--self-invocation", *arguments),
                ],
                cwd=folder,
                env={**environment, "PYTHONPATH": os.pathsep.join(str(place) for place in path)},
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
            )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(3)]
        found = dict(re.findall(r"(\w+)=(\S+)", "".join(lines[1:])))
        assert found, log.read_text()
        self.where = {  # as options of a map
            "function": NAME,
            "region": "us-east-1",
            "endpoint_url": found["AWS_ENDPOINT_URL_LAMBDA"],
            "credentials": (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]),
        }
        self.client = boto3.client(
            "lambda",
            region_name="us-east-1",
            endpoint_url=found["AWS_ENDPOINT_URL_LAMBDA"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            config=Config(read_timeout=_HANG_GUARD_S, retries={"total_max_attempts": 1}),
        )

    def invoke(self, event: Any) -> Any:
        """Return the function's reply."""
        answer = self.client.invoke(FunctionName=NAME, Payload=json.dumps(event).encode())
        body = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, (body, self.log.read_text())
        return body

    def request(self, method: str, path: str, body: str = "", **query: str) -> tuple[int, str]:
        """Send a request as a REST API of API Gateway does; return status and text of the reply."""
        return read_answer(self.invoke(rest_event(method, path, body, query)))

    def stop(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        with self.process.stdout:
            self.process.wait(30)


def read_answer(answer: Any) -> tuple[int, str]:
    """Return status and text of a web handler's reply."""
    text = answer.get("body") or ""
    if answer.get("isBase64Encoded"):
        text = base64.b64decode(text).decode()
    return answer["statusCode"], text


def rest_event(
    method: str, path: str, body: str, query: Mapping[str, str], age_s: float = 0
) -> dict[str, Any]:
    """Return the event of a REST API ("version 1") that arrived this many seconds ago."""
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {
            "Host": "x.execute-api.eu-central-1.amazonaws.com",
            "Content-Type": "application/json" if body[:1] == "[" else "text/csv",
        },
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
        "queryStringParameters": dict(query),
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "stage": "dev",
            "requestTimeEpoch": int((time.time() - age_s) * 1000),
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def http_event(method: str, path: str, body: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the event of an HTTP API ("version 2.0")."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": f"/dev{path}",
        "rawQueryString": urlencode(query),
        "headers": {"host": "x.execute-api.eu-central-1.amazonaws.com", "content-type": "text/csv"},
        "queryStringParameters": dict(query),
        "requestContext": {
            "stage": "dev",
            "timeEpoch": int(time.time() * 1000),
            "http": {"method": method, "path": f"/dev{path}", "sourceIp": "192.0.2.1"},
        },
        "body": base64.b64encode(body.encode()).decode(),
        "isBase64Encoded": True,
    }
