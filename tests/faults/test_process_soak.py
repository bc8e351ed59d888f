"""Many maps in one process: memory, threads and descriptors do not grow.

500 maps, or 100,000 in `./dev soak`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from driver import api_options
from outside import run_script
from scripted import Server, aws_error, fin, reply, throttle

SCRIPT = """
import gc, logging
logging.getLogger("lambdamap").setLevel(logging.ERROR)
def now():
    gc.collect()
    with open("/proc/self/statm") as file:
        rss = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return rss, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
function = options.pop("function")
def one(n):
    results = lambdamap.invoke_map(function, [n, n], **options)
    try:
        if n % 10 == 3:
            next(results)
            results.close()
        else:
            assert list(results) == [{}, {}]
    except lambdamap.LambdaMapError:
        pass
for n in range(WARM):
    one(n)
before = now()
for n in range(MAPS):
    one(n)
after = now()
print(after[0] - before[0], after[1] - before[1], after[2] - before[2])
"""


def growth(server: Server, maps: int, warm: int) -> tuple[int, int, int]:
    """Return the growth of resident bytes, threads and descriptors from the warm-up to the end."""
    options = api_options(server, max_concurrency=2, max_attempts=1)
    del options["chunksize"]
    text = SCRIPT.replace("MAPS", str(maps)).replace("WARM", str(warm))
    done = run_script(text, options, flags=())
    assert done.returncode == 0, done.stderr
    rss, threads, descriptors = map(int, done.stdout.split())
    return rss, threads, descriptors


def faulty(serve: Callable[..., Server], maps: int) -> Server:
    """Reply, and sometimes with one of the faults that a map may meet."""
    good = reply("{}")
    script = [
        {7: fin(), 50: aws_error(500, "ServiceException"), 83: throttle(x_amz_retry_after="0")}.get(
            n % 100, good
        )
        for n in range(maps)
    ]
    return serve(script, then=good, check_signatures=False)


def test_five_hundred_maps(serve: Callable[..., Server]) -> None:
    rss, threads, descriptors = growth(faulty(serve, 1600), 500, 300)
    assert threads <= 0 and descriptors <= 16  # connections that happen to be open
    assert rss < 4 << 20, f"{rss} bytes"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_maps(serve: Callable[..., Server], monkeypatch: Any) -> None:
    import outside

    monkeypatch.setattr(outside, "HANG_S", 3000)
    rss, threads, descriptors = growth(faulty(serve, 200_000), 100_000, 2_000)
    assert threads <= 0 and descriptors <= 2
    assert rss < 8 << 20, f"{rss} bytes"
