"""`estimate`: seconds and USD of a map before it runs, from a sample and the model."""

from __future__ import annotations

import dataclasses
import html
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from numbers import Integral
from typing import Any

from lambdamap import _codec, errors, model
from lambdamap import options as _options
from lambdamap.calls.api import map as _map
from lambdamap.calls.api import refuse_frame

__all__ = ["Estimate", "Prediction", "estimate"]

_MEMORY = (512, 1024, 1769, 3008)
_CONCURRENCY = (10, 100, 1000)
_REGION = "us-east-1"
_CHUNK_MS = 500.0  # LM_CHUNK_TARGET_US: the work that automatic chunks grow to
_SIMULATED = 4000  # chunks at most, and four windows; what is beyond is extrapolated


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the map would take with one memory size and one limit of concurrency.

    Attributes
    ----------
    memory_mb, max_concurrency : int
        Of the function; of the map.
    outcome : lambdamap.model.Outcome
        All figures.
    """

    memory_mb: int
    max_concurrency: int
    outcome: model.Outcome

    @property
    def seconds(self) -> float:
        return self.outcome.seconds

    @property
    def usd(self) -> float:
        return self.outcome.usd


@dataclasses.dataclass(frozen=True, repr=False)
class Estimate:
    """Predictions of a map, the sample that they are based on, and what was assumed.

    Attributes
    ----------
    items, sampled : int
        Items of the map; of these, run.
    worker : lambdamap.model.Worker
        What the sample showed: time and bytes of an item.
    predictions : tuple of Prediction
        By memory size, then by concurrency.
    assumptions : tuple of str
        Sentences.
    """

    items: int
    sampled: int
    worker: model.Worker
    predictions: tuple[Prediction, ...]
    assumptions: tuple[str, ...]

    @property
    def cheapest(self) -> Prediction:
        return min(self.predictions, key=lambda it: (it.outcome.gave_up, it.usd, it.seconds))

    @property
    def fastest(self) -> Prediction:
        return min(self.predictions, key=lambda it: (it.outcome.gave_up, it.seconds, it.usd))

    def _title(self) -> str:
        worker = self.worker
        return (
            f"{self.items:,} items of {worker.item_ms:,.3g} ms "
            f"(+-{worker.spread:.0%}, a sample of {self.sampled:,})"
        )

    def _rows(self) -> Iterator[tuple[str, ...]]:
        yield ("memory", "at once", "time", "invocations", "throttled", "USD", "")
        for found in self.predictions:
            outcome = found.outcome
            marks = (found is self.cheapest, "cheapest"), (found is self.fastest, "fastest")
            yield (
                f"{found.memory_mb:,} MB",
                f"{found.max_concurrency:,}",
                "gives up" if outcome.gave_up else _time(found.seconds),
                f"{outcome.invocations:,}",
                f"{outcome.throttles:,}",
                f"{found.usd:.4f}" if found.usd < 10 else f"{found.usd:,.2f}",
                ", ".join(name for is_it, name in marks if is_it),
            )

    def __repr__(self) -> str:
        rows = list(self._rows())
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False))
            + f"  {row[-1]}"
            for row in rows
        ]
        assumed = [f"- {text}" for text in self.assumptions]
        return "\n".join(
            [self._title(), "", *(line.rstrip() for line in lines), "", "Assumptions:", *assumed]
        )

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        right = "style='text-align:right'"
        text = "".join(f"<th {right}>{name}</th>" for name in head)
        for row in rows:
            text += "</tr><tr>" + "".join(f"<td {right}>{cell}</td>" for cell in row)
        assumed = "".join(f"<li>{html.escape(text)}</li>" for text in self.assumptions)
        return (
            f"<table><caption>{html.escape(self._title())}</caption><tr>{text}</tr></table>"
            f"<details><summary>Assumptions</summary><ul>{assumed}</ul></details>"
        )


def estimate(
    f: Callable[[Any], Any],
    items: Iterable[Any],
    n: int | None = None,
    memory: Sequence[int] = _MEMORY,
    *,
    concurrency: Sequence[int] | None = None,
    sample: int = 20,
    sample_seconds: float = 10.0,
    network: model.Network | None = None,
    service: model.Lambda | None = None,
    price: model.Prices | None = None,
    architecture: str = "x86_64",
    **options: Any,
) -> Estimate:
    """Run f on a sample of the items and predict time and cost of all of them on AWS Lambda.

    The sample runs where `map` would run with these options, one item after the other: on the local
    Lambda, or on the configured function, which costs what it costs. What f does besides returning
    a result, it does for the items of the sample.

    Parameters
    ----------
    f
        The function to be mapped.
    items
        The items, or some of them. The sample is taken at even distances from a sequence, and from
        the start of other iterables.
    n
        Number of items in all. None: ``len(items)``.
    memory
        Memory sizes in MB to compare.
    concurrency
        Values of ``max_concurrency`` to compare. None: that of the options, else 10, 100 and 1,000.
    sample, sample_seconds
        Items to run at most, and after how many seconds no further one is started.
    network, service
        Parts of the model, for other assumptions. The memory size of `service` has no effect.
    price
        Prices. None: the list prices of ``region`` (us-east-1 if there is none).
    architecture
        ``"x86_64"`` or ``"arm64"``; determines the list price only.
    **options
        See `lambdamap.Options`. ``chunksize`` applies to the prediction; ``journal`` is not used,
        since the sample is not a part of the map.

    Returns
    -------
    Estimate
        A table in a notebook or when printed. What it is based on is in ``assumptions``.

    Raises
    ------
    ConfigError
        `n` is missing for items without a length, or an argument is invalid.
    Exception
        What f raises for an item of the sample, as by `map`.

    Examples
    --------
    >>> import lambdamap
    >>> found = lambdamap.estimate(abs, range(1000), memory=[1769], backend="inline")
    >>> found.items, len(found.predictions)
    (1000, 3)
    """
    refuse_frame(items)
    resolved = _options.resolve_for(f, options)
    if n is None:
        if not isinstance(items, Sized):
            raise errors.ConfigError("estimate needs n=, the number of items: items has no length")
        n = len(items)
        if n == 0:
            raise errors.ConfigError("estimate needs at least one item")
    if concurrency is None:
        concurrency = (
            _CONCURRENCY if resolved.max_concurrency is None else (resolved.max_concurrency,)
        )
    for name, number in (("n", n), ("sample", sample)):
        if not _is_count(number):
            raise errors.ConfigError(f"{name} must be an integer of at least 1, not {number!r}")
    for name, numbers in (("memory", memory), ("concurrency", concurrency)):
        if not (isinstance(numbers, Sequence) and numbers and all(map(_is_count, numbers))):
            raise errors.ConfigError(
                f"{name} must be a list of integers of at least 1, not {numbers!r}"
            )
    try:
        price = price or model.prices(resolved.region or _REGION, architecture)
    except ValueError as error:
        raise errors.ConfigError(str(error)) from None
    network, service = network or model.Network(), service or model.Lambda()
    options["journal"] = None
    worker, sampled = _sampled(f, items, sample, sample_seconds, resolved.compression, options)
    predictions = []
    for memory_mb, at_once in itertools.product(memory, concurrency):
        caller = model.Caller(
            chunksize=resolved.chunksize,
            max_concurrency=at_once,
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2,
        )
        of_this_size = dataclasses.replace(service, memory_mb=memory_mb)
        outcome = _predict(n, caller, network, of_this_size, worker, price)
        predictions.append(Prediction(memory_mb, at_once, outcome))
    region = resolved.region or _REGION
    return Estimate(
        n,
        sampled,
        worker,
        tuple(predictions),
        (
            "One vCPU on Lambda is as fast as a core here, or as the function that ran the sample, if it has "
            f"{model.FULL_CPU_MB:,} MB or more.",
            f"f is one thread of computing: below {model.FULL_CPU_MB:,} MB, which AWS states as one vCPU, "
            "it takes longer in proportion; more memory does not make it faster. Its memory suffices.",
            f"The account's limit is {service.concurrency:,} concurrent invocations, of which nothing else "
            f"takes any; {service.environments_per_10_s:,.0f} new environments per 10 s (AWS's documented "
            f"rate). {service.warm:,} are warm; initialization takes {service.init_ms:,.0f} ms, billed.",
            f"A round trip to the region takes {network.round_trip_ms:g} ms, the bandwidth is "
            f"{network.mbit_s:g} Mbit/s.",
            f"List prices: ${price.gb_second:.10f} per GB-second, ${price.request * 1e6:.2f} per million "
            f"requests ({region}, {architecture}, {model.PRICES_OF}), without free tier, data transfer "
            "and logs.",
        ),
    )


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _picked(items: Iterable[Any], count: int) -> Iterator[Any]:
    if not isinstance(items, Sequence) or len(items) <= count:
        return itertools.islice(items, count)
    return (items[i * len(items) // count] for i in range(count))


def _sampled(
    f: Callable[[Any], Any],
    items: Iterable[Any],
    count: int,
    seconds: float,
    compression: bool | str,
    options: dict[str, Any],
) -> tuple[model.Worker, int]:
    """Run the sample; return what it showed, and its size."""
    taken: list[Any] = []
    results: list[Any] = []
    times: list[float] = []
    ends = time.monotonic() + seconds

    def some() -> Iterator[Any]:
        for item in _picked(items, count):
            if taken and time.monotonic() > ends:
                return
            taken.append(item)
            yield item

    one_by_one = {"chunksize": 1, "max_concurrency": 1, "buffersize": 1, "on_error": "raise"}
    before = 0.0
    with _map(f, some(), **{"progress": False, **options, **one_by_one}) as found:
        for result in found:
            results.append(result)
            spent = found.stats.worker_seconds
            times.append((spent - before) * 1e3)
            before = spent
        sent, received = found.stats.bytes_sent, found.stats.bytes_received
    if not times:
        raise errors.ConfigError("estimate needs at least one item")
    later = times[1:] or times  # the first one may import
    mean = statistics.fmean(later)
    spread = statistics.pstdev(later) / mean if mean else 0.0
    compressed = compression is not False
    return (
        model.Worker(
            item_ms=mean,
            spread=spread,
            item_bytes=_encoded(taken, compressed, sent),
            result_bytes=_encoded(results, compressed, received),
        ),
        len(times),
    )


def _encoded(values: list[Any], compressed: bool, otherwise: int) -> float:
    """Return the encoded size of a value among others; otherwise: of all of them, one by one."""
    try:
        return len(_codec.encode_text(values, compression=compressed)) * 3 / 4 / len(values)
    except _codec.EncodeFailure:  # some can only be pickled
        return otherwise * 3 / 4 / len(values)


def _predict(
    items: int,
    caller: model.Caller,
    network: model.Network,
    service: model.Lambda,
    worker: model.Worker,
    price: model.Prices,
) -> model.Outcome:
    """Simulate the map; of a long one the start, which is continued in proportion."""
    if isinstance(caller.chunksize, str):
        size = max(1.0, _CHUNK_MS / max(worker.item_ms, 1e-3))
    else:
        size = float(caller.chunksize)
    most = int(size * max(_SIMULATED, 4 * caller.max_concurrency))

    def run(count: int) -> model.Outcome:
        return model.simulate(count, caller, network, service, worker, price=price)

    if items <= 2 * most:
        return run(items)
    half, whole = run(most // 2), run(most)
    more = (items - most) / (most - most // 2)
    grown = {
        name: getattr(whole, name) + more * (getattr(whole, name) - getattr(half, name))
        for name in ("seconds", "caller_cpu_seconds", "gb_seconds", "usd")
    }
    counted = {
        name: round(getattr(whole, name) + more * (getattr(whole, name) - getattr(half, name)))
        for name in ("invocations", "requests", "retries", "throttles", "failures")
    }
    return dataclasses.replace(whole, **grown, **counted)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes:,} min" if minutes < 100 else f"{seconds / 3600:,.1f} h"
