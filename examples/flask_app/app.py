"""A small data science service: PUT a table as CSV, get one number for each id back.

flask --app app run
curl -T table.csv 'http://localhost:5000/?chunksize=10'
"""

from __future__ import annotations

import io

import pandas as pd
from df_utils import calculate_result
from flask import Flask, Response, request
from options import BadRequestError, Options

from lambdamap import DeadlineError, LambdaMapError
from lambdamap.integrations.flask import LambdaMap


def get_options() -> Options:
    """Read the options from the present request's query string."""
    return Options.from_query(request.args)


def get_dataframe() -> pd.DataFrame:
    """Read the table from the present request's body."""
    body = request.get_data()
    if not body.strip():
        raise BadRequestError("the body is empty: send a table as CSV, for example with curl -T")
    if b"\0" in body:
        raise BadRequestError("the body is not CSV: it has zero bytes, as a binary file has")
    try:
        return pd.read_csv(io.BytesIO(body))
    except (ValueError, UnicodeError) as error:  # ParserError and EmptyDataError are ValueErrors
        raise BadRequestError(f"the body is not CSV: {str(error).strip()}") from error


def print_result(result: pd.DataFrame) -> Response:
    """Answer with the result as CSV."""
    return Response(result.to_csv(index=False), mimetype="text/csv")


def add_routes(app: Flask) -> None:
    """Give the application its one route and its error pages."""

    @app.put("/")
    def calculate() -> Response:
        options = get_options()
        return print_result(calculate_result(get_dataframe(), options))

    @app.errorhandler(BadRequestError)
    def bad_request(error: BadRequestError) -> Response:
        return Response(f"{error}\n", status=400, mimetype="text/plain")

    @app.errorhandler(DeadlineError)
    def map_took_too_long(error: DeadlineError) -> Response:
        text = f"not finished in time, {len(error.partial)} groups were: {error}\n"
        return Response(text, status=504, mimetype="text/plain")

    @app.errorhandler(LambdaMapError)
    def map_failed(error: LambdaMapError) -> Response:
        app.logger.exception("the map failed")
        return Response(f"{type(error).__name__}: {error}\n", status=502, mimetype="text/plain")


app = Flask(__name__)
LambdaMap(app)  # ends the maps of a request in time, and with it
add_routes(app)
