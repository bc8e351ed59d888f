"""A pytest fixture: ``local_lambda``, a Lambda on this machine for one test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lambdamap.local.server import LocalLambda


@pytest.fixture
def local_lambda() -> Iterator[LocalLambda]:
    """A running `lambdamap.local.LocalLambda` with one sandbox a core.

    Any function name invokes lambdamap's worker, over its ``endpoint_url`` with its ``access_key``
    and ``secret_key``.
    """
    from lambdamap.local.server import LocalLambda

    with LocalLambda() as function:
        yield function
