"""How long after a notebook's stop button the prompt is back, and what the cell then says."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from lambdamap.local import LocalLambda

__all__ = ["rows"]

AT_WORK_S = 1.5  # from the cell's last word before the map to the interrupt
SET_UP = """
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import joblib, lambdamap, pandas, work
import lambdamap.integrations.joblib
local = dict(backend="local", progress=False)
far = dict(function="far", endpoint_url={url!r}, region="us-east-1", progress=False,
           credentials=({access_key!r}, {secret_key!r}))
grouped = pandas.DataFrame({{"k": range(20)}}).groupby("k")
calls = [joblib.delayed(work.long)(i) for i in range(20)]
fresh = get_context("forkserver")
lambdamap.my_map(abs, range(8), 1, **local)
"""
WORK = "import time\ndef long(x):\n    time.sleep(6)\n"  # as long as the slowest rival may take
CELLS = {
    "my_map on the local Lambda": "lambdamap.my_map(work.long, range(20), 1, **local)",
    "my_map on AWS": "lambdamap.my_map(work.long, range(20), 1, **far)",
    "groupby_apply": "lambdamap.groupby_apply(work.long, grouped, chunksize=1, **local)",
    "with LambdaExecutor(): map": """
with lambdamap.LambdaExecutor(backend="local") as executor:
    list(executor.map(work.long, range(20), chunksize=1))""",
    "joblib on lambdamap": """
with joblib.parallel_config(backend="lambdamap", n_jobs=4):
    joblib.Parallel()(calls)""",
    "joblib on loky": "joblib.Parallel(n_jobs=4)(calls)",
    "with ProcessPoolExecutor(): map": """
with ProcessPoolExecutor(4, mp_context=fresh) as executor:
    list(executor.map(work.long, range(20)))""",
    "with multiprocessing.Pool(): map": """
with fresh.Pool(4) as pool:
    pool.map(work.long, range(20))""",
}


def _interrupted(kernel: Any, code: str) -> tuple[float, str]:
    """Seconds from the interrupt to the cell's end, and the line of its error that is ours."""
    moments: list[float] = []

    def stop() -> None:
        moments.append(time.perf_counter())
        kernel.interrupt()

    def look(_: Any, shown: Any) -> None:
        if "at work" in shown.stdout and not timers:
            timers.append(threading.Timer(AT_WORK_S, stop))
            timers[0].start()

    timers: list[threading.Timer] = []
    shown = kernel.run(f"print('at work', flush=True)\n{code}", look)
    seconds = time.perf_counter() - moments[0]
    lines = shown.error[2].splitlines() if shown.error else []
    said = [line for line in lines if line.startswith("lambdamap: ")]
    return seconds, (said or shown.error[:1] or ["nothing"])[-1].removeprefix("lambdamap: ")


def rows(quick: bool) -> list[tuple[str, ...]]:
    """One for each kind of cell."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support" / "system"))
    from kernel import Kernel

    found = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "work.py").write_text(WORK)
        sys.path.insert(0, folder)  # for the function
        for what, code in CELLS.items():
            runs = []
            for _ in range(1 if quick else 3):
                with LocalLambda(function_name="far") as far, Kernel(Path(folder)) as kernel:
                    shown = kernel.run(
                        SET_UP.format(
                            url=far.endpoint_url,
                            access_key=far.access_key,
                            secret_key=far.secret_key,
                        )
                    )
                    assert not shown.error, shown.error
                    runs.append(_interrupted(kernel, code))
            found.append((what, f"{median(s for s, _ in runs):.2f} s", runs[-1][1]))
    return found
