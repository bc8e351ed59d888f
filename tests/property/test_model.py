"""`lambdamap.model` ends for any parts, and its limits hold."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lambdamap.model import Caller, Lambda, Network, Worker, simulate

CALLERS = st.builds(
    Caller,
    chunksize=st.one_of(st.just("auto"), st.integers(1, 20)),
    max_concurrency=st.integers(1, 60),
    ordered=st.booleans(),
    cores=st.sampled_from([0.1, 1.0, 1.5, 8.0]),
    streams_per_connection=st.sampled_from([1, 10]),
    max_inflight_mb=st.sampled_from([0.01, 512.0]),
)
NETWORKS = st.builds(
    Network,
    round_trip_ms=st.sampled_from([0.0, 20.0, 300.0]),
    jitter_ms=st.sampled_from([0.0, 5.0]),
    mbit_s=st.sampled_from([1.0, 1000.0]),
)
SERVICES = st.builds(
    Lambda,
    memory_mb=st.sampled_from([128, 1769, 10240]),
    concurrency=st.integers(1, 50),
    reserved=st.one_of(st.none(), st.integers(0, 20)),
    environments_per_10_s=st.sampled_from([0.0, 5.0, 1000.0]),
    requests_per_environment_s=st.sampled_from([0.1, 10.0]),
    warm=st.sampled_from([0, 10]),
    refused_share=st.sampled_from([0.0, 0.1, 1.0]),
    functions=st.integers(1, 3),
    regions=st.integers(1, 2),
)
WORKERS = st.builds(
    Worker,
    item_ms=st.sampled_from([0.0, 10.0, 2000.0]),
    spread=st.sampled_from([0.0, 1.0]),
    item_bytes=st.sampled_from([0.0, 2000.0]),
)


@given(
    st.integers(1, 200), CALLERS, NETWORKS, SERVICES, WORKERS, st.integers(0, 2), st.integers(0, 9)
)
def test_it_ends_and_the_limits_hold(
    items: int,
    caller: Caller,
    network: Network,
    service: Lambda,
    worker: Worker,
    depth: int,
    seed: int,
) -> None:
    found = simulate(items, caller, network, service, worker, depth=depth, seed=seed)
    each = service.concurrency if service.reserved is None else service.reserved
    regions = min(service.regions, service.functions)
    most = min(service.concurrency * regions, each * service.functions)
    assert found.peak_concurrency <= most
    new = service.environments_per_10_s * (1 + found.seconds / 10) * service.functions
    assert found.cold_starts <= new + 1e-6
    assert found.requests >= found.invocations + found.throttles
    assert found.usd >= 0 and math.isfinite(found.usd)
    if found.gave_up:
        assert found.seconds > 60
    elif not found.failures:
        work_s = worker.item_ms * items / 1e3 * (0 if worker.spread else 1)
        assert found.seconds >= work_s / max(1, most) - 1e-6
        if not depth and isinstance(caller.chunksize, int) and worker.item_bytes * 20 < 1e6:
            assert found.invocations == math.ceil(items / caller.chunksize)
