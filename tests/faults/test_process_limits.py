"""Few descriptors (row 51), no threads (row 52), a changing environment (row 61)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driver import api_options
from outside import run_script
from scripted import Server, after, run

N = 200


@pytest.mark.parametrize("limit", [40, 64])
def test_row_51_few_descriptors(limit: int, site: Any) -> None:
    """1,000 connections are requested; as many as possible are opened, and every item succeeds."""
    server = site.server(then=after(0.005, run()))
    done = run_script(
        f"""
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, hard))
        results = lambdamap.map(tasks.square, range({N}), **options)
        assert list(results) == [x * x for x in range({N})]
        print(results.stats.connections < {limit})
        """,
        site.options(server, max_concurrency=1000),
    )
    assert done.stdout == "True\n", done.stderr  # where retries may have been logged
    assert set(server.items.values()) == {1}  # without a descriptor: not sent, retried later


def test_row_51_descriptors_that_run_out_on_the_way(serve: Callable[..., Server]) -> None:
    """Others take descriptors meanwhile: chunks are retried, and succeed or name the cause."""
    server = serve(then=after(0.02, run()))
    done = run_script(
        f"""
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        results = lambdamap.map(tasks.square, range({N}), **options)
        found = [next(results)]
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            found += results
            assert found == [x * x for x in range({N})]
        except lambdamap.ConnectError as error:
            assert error.ran == "NOT" and "Too many open files" in str(error), error
        for fd in taken:
            os.close(fd)
        assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
        """,
        api_options(server, max_concurrency=1000),
        flags=("-X", "dev"),
    )
    assert done.returncode == 0, done.stderr
    assert server.items[3] <= 1
    assert server.items[0] == 2  # the second map's item


# --- row 52 ---------------------------------------------------------------------------------------

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
/* After so many threads that are not Python's own, none can be made. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
  static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  static int made;
  Dl_info where;
  if (real == NULL)
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
  const char *limit = getenv("SHIM_THREADS");
  if (limit != NULL && dladdr(__builtin_return_address(0), &where) != 0 && where.dli_fname != NULL &&
      __builtin_strstr(where.dli_fname, "/_net.") != NULL &&
      __atomic_fetch_add(&made, 1, __ATOMIC_SEQ_CST) >= atoi(limit))
    return EAGAIN;
  return real(thread, attr, run, arg);
}
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    source = folder / "shim.c"
    source.write_text(SHIM.replace("__builtin_strstr", "strstr").replace(
        "#include <stdlib.h>", "#include <stdlib.h>\n#include <string.h>"
    ))  # fmt: skip
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    return library


def with_threads(shim: Path, limit: int, script: str, options: dict[str, Any]) -> tuple[str, str]:
    environment = {"LD_PRELOAD": str(shim), "SHIM_THREADS": str(limit)}
    done = run_script(script, options, environment=environment, flags=())
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_row_52_no_thread_at_all(serve: Callable[..., Server], shim: Path) -> None:
    server = serve()
    script = """
    for _ in range(3):
        try:
            lambdamap.map(tasks.square, [1], **options)
        except RuntimeError as error:
            assert type(error) is RuntimeError and "thread" in str(error), error
            print("RuntimeError")
    """
    assert with_threads(shim, 0, script, api_options(server)) == ("RuntimeError\n" * 3, "")
    assert server.connections == []


def test_row_52_fewer_threads(serve: Callable[..., Server], shim: Path) -> None:
    """One I/O thread is enough; it also encodes and decodes large payloads."""
    server = serve()
    script = f"""
    assert list(lambdamap.map(tasks.square, range({N}), **options)) == [x*x for x in range({N})]
    large = [b"x" * 500_000, b"y" * 500_000]
    assert list(lambdamap.map(tasks.identity, large, **options)) == large
    state = _net.debug_state()
    print(state["io_threads"], state["cpu_threads"])
    """
    assert with_threads(shim, 1, script, api_options(server)) == ("1 0\n", "")


def test_row_52_no_thread_for_the_resolver(serve: Callable[..., Server], shim: Path) -> None:
    """Nothing was sent; the error says what is missing."""
    server = serve()
    options = api_options(server, endpoint_url=f"http://localhost:{server.port}")
    script = """
    import os
    threads = min(4, len(os.sched_getaffinity(0)))
    assert int(os.environ["SHIM_THREADS"]) == threads
    try:
        list(lambdamap.map(tasks.square, [1], **options))
    except lambdamap.ConnectError as error:
        assert "thread" in str(error), error
        print(error.ran)
    """
    threads = min(4, len(os.sched_getaffinity(0)))
    out, _ = with_threads(shim, threads, script, options)
    assert out == "NOT\n"
    assert server.connections == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody with no processes")
def test_row_52_a_limit_of_processes(serve: Callable[..., Server]) -> None:
    """The kernel refuses to start a thread, for a user other than root."""
    server = serve()
    done = run_script(
        """
        import resource
        # Everything is imported while it can be read.
        assert list(lambdamap.map(tasks.square, [1], **options)) == [1]
        _net.shutdown(10.0)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgid(54321)
        os.setuid(54321)
        try:
            lambdamap.map(tasks.square, [1], **options)
        except RuntimeError as error:
            assert "thread" in str(error), error
            print("RuntimeError")
        """,
        api_options(server),
        flags=(),
    )
    assert done.stdout == "RuntimeError\n", done.stderr
    assert server.complete == 1


# --- row 61 ---------------------------------------------------------------------------------------


def test_row_61_the_environment_changes_all_the_time(site: Any, tmp_path: Path) -> None:
    """Native threads never read the environment.

    Maps with new connections run while another thread moves and frees what getenv would return.
    (The same under TSan: tests/c/test_net_environment.c.)
    """
    server = site.server(then=run())
    done = run_script(
        """
        import ctypes
        libc = ctypes.CDLL(None)
        stop = threading.Event()
        def change():
            n = 0
            while not stop.is_set():
                n += 1
                for name in (b"https_proxy", b"HTTPS_PROXY", b"SSLKEYLOGFILE", b"SSL_CERT_FILE"):
                    libc.setenv(name, b"http://nowhere.example:1/" + b"x" * (n % 4000), 1)
                    libc.unsetenv(name)
                os.environ[f"CANARY_{n % 500}"] = "y" * (n % 3000)
        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(15):
                found = list(lambdamap.map(tasks.square, range(20), **options))
                assert found == [x * x for x in range(20)]
                _net.shutdown(10.0)  # the next map connects anew
        finally:
            stop.set()
            thread.join()
        print("fine")
        """,
        site.options(server, max_concurrency=10),
        environment={"HOME": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
    assert set(server.items.values()) == {15}
