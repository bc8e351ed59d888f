"""Maps in a process that gevent has patched: the server of the local Lambda is a greenlet there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from outside import script_environment

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
import lambdamap, tasks
from lambdamap import _net

lambdamap.configure(backend="local", chunksize=1)
assert list(lambdamap.map(tasks.square, range(100))) == [n * n for n in range(100)]

def tick():
    for _ in range(3):
        gevent.sleep(0.01)
    open(path, "w").close()  # which f waits for
path = sys.argv[1]
ticking = gevent.spawn(tick)
assert list(lambdamap.map(tasks.wait_for_file, [path])) == [True]

several = [gevent.spawn(lambdamap.my_map, tasks.sleep, [0.1, 0.0], 1) for _ in range(5)]
gevent.joinall(several, raise_error=True)
assert [one.value for one in several] == [[0.1, 0.0]] * 5

with lambdamap.LambdaExecutor() as executor:
    assert executor.submit(tasks.square, 7).result() == 49
    assert list(executor.map(tasks.square, range(5))) == [0, 1, 4, 9, 16]

try:
    list(lambdamap.map(tasks.sleep, [30], timeout=0.3))
except lambdamap.DeadlineError:
    pass
else:
    raise AssertionError("no deadline")

lost = gevent.spawn(lambdamap.my_map, tasks.sleep, [30], 1)
while not _net.debug_state()["in_flight"]:
    gevent.sleep(0.01)
lost.kill()
while _net.debug_state()["in_flight"]:
    gevent.sleep(0.01)
print("done")
"""


def test_other_greenlets_run_while_a_map_waits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "ticked")], capture_output=True, text=True, timeout=120,
        env=script_environment(),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("done\n", "")
