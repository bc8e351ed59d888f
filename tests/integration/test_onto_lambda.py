"""What `./dev wheel` makes, and what `zappa package` makes of the example: unpacked, and run alone."""

from __future__ import annotations

import email
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awslambdaric
import pytest

import lambdamap
from certificates import Authority
from lambdamap.deploy import package
from scripted import Server, reply
from served import Served

ROOT = Path(__file__).parents[2]
DIST = ROOT / ".cache" / "dist"
ZAPPA = ROOT / ".cache" / "zappa" / "bin" / "python"
APPLICATION = ROOT / "examples" / "flask_app"
ON_BOOKWORM = "bookworm" in Path("/etc/os-release").read_text()
FEATURES = '''
import os
import sys


def double(x):
    return 2 * x


def modules(prefixes):
    """Where everything that is loaded comes from, but for what is under the prefixes."""
    places = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return sorted(place for place in places if place and not place.startswith(tuple(prefixes)))


def names(_):
    return sorted(sys.modules)


def nested(n):
    import lambdamap

    return lambdamap.my_map(double, range(n), 2)
'''

pytestmark = pytest.mark.skipif(
    not list(DIST.glob("*.whl")),
    reason="wheels for Lambda are made on Debian 12, where ./dev test makes this one",
)


@pytest.fixture(scope="module")
def wheel() -> Path:
    (found,) = DIST.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The function's zip in an empty folder, with a module of the user's beside it."""
    folder = tmp_path_factory.mktemp("function")
    (found,) = DIST.glob("*-function.zip")
    unzip(found, folder)
    (folder / "features.py").write_text(FEATURES)
    return folder


def unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the standard library and nothing else."""
    place = tmp_path_factory.mktemp("python")
    venv.create(place, with_pip=False, symlinks=True)
    return place / "bin" / "python"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What AWS's image has beside the standard library: its runtime client and boto3."""
    folder = tmp_path_factory.mktemp("runtime")
    packages = Path(awslambdaric.__file__).parents[1]
    client = ("awslambdaric", "runtime_client*.so", "simplejson", "snapshot_restore_py*.py")
    for pattern in (*client, "boto3", "botocore", "s3transfer"):
        for found in packages.glob(pattern):
            (folder / found.name).symlink_to(found)
    return folder


def alone(environment: dict[str, str] | None = None) -> dict[str, str]:
    """An environment that brings nothing along."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        **(environment or {}),
    }


# --- the files ------------------------------------------------------------------------------------


def extensions(folder: Path) -> dict[str, Path]:
    return {path.name.split(".")[0]: path for path in (folder / "lambdamap").glob("*.so")}


def newest_glibc(library: Path) -> tuple[int, ...]:
    text = subprocess.run(
        ["objdump", "-T", library], check=True, capture_output=True, text=True
    ).stdout
    versions = re.findall(r"GLIBC_([0-9.]+)", text)
    return max(tuple(map(int, version.split("."))) for version in versions)


def test_what_the_extensions_need(unpacked: Path) -> None:
    found = extensions(unpacked)
    assert set(found) == {"_codec", "_net"}
    for library in found.values():
        text = subprocess.run(
            ["objdump", "-p", library], check=True, capture_output=True, text=True
        ).stdout
        needed = set(re.findall(r"NEEDED +(\S+)", text))
        assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"} | {
            name for name in needed if name.startswith("ld-linux")
        }
        symbols = subprocess.run(
            ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
        ).stdout
        # An OpenSSL, libcurl or libnghttp2 that is loaded beside it must not be mixed with its own.
        assert re.findall(r" [A-Z] (\S+)", symbols) == [f"PyInit_{library.name.split('.')[0]}"]


@pytest.mark.skipif(
    not ON_BOOKWORM, reason="wheels for Lambda are built on Debian 12: its C library"
)
def test_the_oldest_c_library_that_will_do(unpacked: Path, wheel: Path) -> None:
    found = extensions(unpacked)
    assert newest_glibc(found["_codec"]) <= (2, 17)
    assert newest_glibc(found["_net"]) <= (2, 34)
    glibc = re.search(r"manylinux_2_(\d+)", wheel.name)
    assert glibc is not None and int(glibc[1]) <= 34


def test_the_wheel_has_the_licences_of_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = [
            name for name in file.namelist() if "/licenses/" in name and not name.endswith("/")
        ]
        texts = {Path(name).stem: file.read(name).decode() for name in names}
        (path,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(path))
    assert "Daniel Stenberg" in texts["curl"]
    assert "Tatsuhiro Tsujikawa" in texts["nghttp2"]
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION" in texts["openssl"]
    assert "Jean-loup Gailly" in texts["zlib"]
    assert "Boost Software License - Version 1.0" in texts["msgpack-c"]
    expression = "MIT AND curl AND Apache-2.0 AND Zlib AND BSL-1.0"
    assert metadata["License-Expression"] == expression
    assert sorted(metadata.get_all("License-File") or ()) == sorted(Path(n).name for n in names)


def test_the_size(unpacked: Path) -> None:
    """Lambda takes 250 MB unpacked, and a console upload of 50 MB; this leaves room for pandas."""
    size = sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file())
    assert size < 15_000_000
    (archive,) = DIST.glob("*-function.zip")
    assert archive.stat().st_size < 5_000_000


def test_deploy_packs_the_same(wheel: Path) -> None:
    """Of lambdamap; what it depends on is of each environment's own version."""
    said: list[str] = []
    here = package.Runtime.here()
    ours = io.BytesIO(package.zipped(here, wheel=wheel, say=said.append))
    (theirs,) = DIST.glob("*-function.zip")
    with zipfile.ZipFile(ours) as a, zipfile.ZipFile(theirs) as b:
        names = {name for name in a.namelist() if name.startswith("lambdamap")}
        assert names == {name for name in b.namelist() if name.startswith("lambdamap")}
        assert f"lambdamap/flight/__pycache__/open.{sys.implementation.cache_tag}.pyc" in names
        assert {name: a.read(name) for name in names} == {name: b.read(name) for name in names}
    assert said[0] == f"packing lambdamap from {wheel}"
    assert any("cannot call map on Lambda itself" in text for text in said) != here.is_al2023


def test_it_maps_from_inside_of_python_3_12_and_later(unpacked: Path, tmp_path: Path) -> None:
    """By what its libraries need and Amazon Linux has; on 2 there is a worker alone."""
    for python, text in (
        ("3.12", None),
        ("3.11", "_net needs glibc 2.34, but python3.11 has 2.26"),
    ):
        runtime = package.Runtime(python, package.Runtime.here().architecture)
        for module, library in extensions(unpacked).items():
            shutil.copyfile(library, tmp_path / f"{module}{runtime.extension}")
        assert runtime.obstacle(tmp_path, "_codec") is None
        assert runtime.obstacle(tmp_path, "_net") == text


# --- the function ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def function(
    unpacked: Path, bare: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """AWS's runtime client with the worker of the unpacked zip."""
    running = Served(
        bare,
        unpacked,
        "lambdamap.worker.entry.handler",
        "--local=awslambdaric",
        path=(unpacked, runtime),
        log=tmp_path_factory.mktemp("log") / "log",
        environment=alone({"LAMBDAMAP_ALLOW": "features:*"}),
    )
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def features(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The user's module here, on the caller's side."""
    shutil.copy(unpacked / "features.py", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import features  # type: ignore[import-not-found]

    yield features
    del sys.modules["features"]


def test_a_map_on_it(function: Served, features: Any) -> None:
    assert lambdamap.my_map(features.double, range(50), 7, **function.where) == [
        2 * n for n in range(50)
    ]


def test_it_runs_from_the_zip_alone(
    function: Served, features: Any, unpacked: Path, runtime: Path
) -> None:
    # The runtime's modules are links to where this environment has them.
    packages = str(Path(awslambdaric.__file__).parents[1])
    standard = str(Path(os.__file__).parent)
    prefixes = [str(unpacked), str(runtime), f"{standard}/"]
    [places] = lambdamap.my_map(features.modules, [prefixes], **function.where)
    assert [p for p in places if not p.startswith(f"{packages}/runtime_client")] == []
    assert not any("site-packages" in place for place in places if place.startswith(standard))


def test_the_worker_loads_little(function: Served, features: Any) -> None:
    [names] = lambdamap.my_map(features.names, [0], **function.where)
    heavy = {
        "lambdamap._net",
        "lambdamap.flight.engine",
        "boto3",
        "numpy",
        "pandas",
        "tqdm",
        "click",
    }
    assert "lambdamap._codec" in names
    assert heavy & set(names) - {"click"} == set()


def test_it_maps_over_itself(function: Served, features: Any) -> None:
    """_net of the zip, with the libcurl and OpenSSL inside it, signs and sends from there."""
    assert lambdamap.my_map(features.nested, [5], depth=1, **function.where) == [[0, 2, 4, 6, 8]]


def test_how_long_the_worker_takes_to_import(
    bare: Path, unpacked: Path, record_property: Any
) -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); t = time.perf_counter(); "
        "import lambdamap.worker.entry as e; print(time.perf_counter() - t, e.__file__)"
    )
    ran = subprocess.run(
        [bare, "-I", "-c", code, unpacked], check=True, capture_output=True, text=True
    )
    seconds, place = ran.stdout.split()
    assert place.startswith(str(unpacked))
    record_property("import_ms", round(float(seconds) * 1000, 1))


# --- where the bundled OpenSSL finds its CA certificates ----------------------------------------------

CALL = """
import sys
import lambdamap
where = {"endpoint_url": sys.argv[1], "region": "us-east-1", "credentials": ("a", "b")}
try:
    print(list(lambdamap.invoke_map("f", [{}], **where)))
except lambdamap.LambdaMapError as error:
    print(type(error).__name__, error)
"""


def unshare() -> list[str]:
    """The command for a mount namespace of one's own; empty where there is none."""
    if shutil.which("unshare") is None:
        return []
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return []


@pytest.mark.skipif(not unshare(), reason="needs unshare(1) and the right to mount")
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("ssl/certs/ca-certificates.crt", "[{'ok': 1}]"),  # Debian, Ubuntu
        ("pki/tls/certs/ca-bundle.crt", "[{'ok': 1}]"),  # Amazon Linux: Lambda's images
        ("ssl/cert.pem", "[{'ok': 1}]"),  # Alpine
        (None, "no CA bundle found on this system"),
    ],
)
def test_ca_certificates_are_found(
    bare: Path,
    unpacked: Path,
    authority: Authority,
    tmp_path: Path,
    place: str | None,
    expected: str,
) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    for name in ("hosts", "nsswitch.conf", "passwd", "group", "ld.so.cache"):
        if Path("/etc", name).exists():
            shutil.copy(f"/etc/{name}", etc)
    if place is not None:
        (etc / place).parent.mkdir(parents=True)
        shutil.copy(authority.ca_file, etc / place)
    server = Server(then=reply(b'{"ok": 1}'), tls=authority.context(), check_signatures=False)
    try:
        ran = subprocess.run(
            [
                *(*unshare(), "sh", "-c"),
                'mount --bind "$1" /etc && shift && exec "$@"',
                *("sh", etc, bare, "-c", CALL, server.url),
            ],
            cwd=unpacked,
            env=alone(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        server.stop()
    assert expected in ran.stdout, ran.stderr


# --- zappa package --------------------------------------------------------------------------------


def package_of_zappa(wheel: Path) -> Path:
    """What `zappa package` makes of the example, unpacked; kept while nothing in it changes."""
    work = ROOT / ".cache" / "zappa-package"
    digest = hashlib.sha256(wheel.read_bytes() + (ZAPPA.parents[1] / "pyvenv.cfg").read_bytes())
    for path in sorted([*APPLICATION.glob("*.py"), *APPLICATION.glob("*.json")]):
        digest.update(path.read_bytes())
    found = work / digest.hexdigest()[:16]
    if found.exists():
        return found
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(APPLICATION, work / "app", ignore=shutil.ignore_patterns("__pycache__"))
    settings = json.loads((work / "app" / "zappa_settings.json").read_text())
    settings["dev"].update(
        slim_handler=False,  # the two zips of slim_handler meet in S3
        runtime=f"python{sys.version_info[0]}.{sys.version_info[1]}",
        exclude=[
            *("boto3", "botocore", "s3transfer", "awslambdaric"),  # are in Lambda's image
            *("tests", "troposphere", "*.ipynb"),  # nothing needs them there
        ],
    )
    (work / "app" / "zappa_settings.json").write_text(json.dumps(settings))
    pip = [ZAPPA, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    ran = subprocess.run(
        [ZAPPA.parent / "zappa", "package", "dev", "-o", "package.zip"],
        cwd=work / "app",
        env={
            **alone(),
            "HOME": str(work),
            "PATH": f"{ZAPPA.parent}:/usr/bin:/bin",
            "VIRTUAL_ENV": str(ZAPPA.parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    unzip(work / "app" / "package.zip", work / "unpacked")
    shutil.rmtree(work / "app")
    return (work / "unpacked").rename(found)


@pytest.mark.skipif(
    not ZAPPA.exists(), reason="./dev test makes the environment that zappa runs in"
)
@pytest.mark.timeout(600)
def test_what_zappa_packages_answers_and_maps_over_itself(
    wheel: Path, bare: Path, runtime: Path, tmp_path: Path
) -> None:
    folder = package_of_zappa(wheel)
    function = Served(
        bare,
        folder,
        "handler.lambda_handler",
        "--local=awslambdaric",
        path=(folder, runtime),
        log=tmp_path / "log",
        environment=alone(),
    )
    try:
        table = "id,value\n" + "".join(f"{n % 5},{n / 2}\n" for n in range(50))
        sums = "".join(f"{k},{sum(n / 2 for n in range(k, 50, 5))}\n" for k in range(5))
        answer = function.request("PUT", "/", table, chunksize="2")
        assert answer == (200, f"id,result\n{sums}"), function.log.read_text()
        log = function.log.read_text()
        assert log.count("Result of lambdamap.worker.entry.zappa_task") == 3
        assert "lm1:" not in log  # no payload
    finally:
        function.stop()


def test_this_machine_s_kind_is_in_the_names(wheel: Path) -> None:
    assert platform.machine() in wheel.name
