"""``lambdamap deploy``, ``delete`` and ``dockerfile`` against a moto server."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import commands
import lambdamap
from alone import running_alone
from aws_front import Front
from lambdamap._version import __version__
from lambdamap.deploy import package, wheels
from lambdamap.deploy.account import Account, Wanted, caller_policy, check_name
from lambdamap.errors import AccessDeniedError, ConfigError, ServiceError
from moto_server import running_moto

REGION = "eu-central-1"
FUNCTION = r"/2015-03-31/functions/f(/.*)?"
CREATE = r"/2015-03-31/functions"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


def tell(moto: dict[str, str], what: str, text: str = "") -> None:
    """Moto's own API."""
    url = f"{moto['AWS_ENDPOINT_URL']}/moto-api/{what}"
    request = urllib.request.Request(url, text.encode(), {"Content-Type": "text/plain"})
    urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def moto() -> Iterator[dict[str, str]]:
    with running_moto(INITIAL_NO_AUTH_ACTION_COUNT="1000000") as variables:
        yield variables


@pytest.fixture
def front(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """An empty account behind a front."""
    tell(moto, "reset")
    with Front(moto["AWS_ENDPOINT_URL"]) as running:
        for name, value in {**moto, "AWS_ENDPOINT_URL": running.url}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def account(front: Front, said: list[str]) -> Account:
    return Account(say=said.append, wait_s=0.01)


def wanted(**changes: Any) -> Wanted:
    archive = changes.pop("archive", _zip("x = 1"))
    plain = Wanted("f", package.Runtime("3.12", "x86_64"), archive, None, 512, 60, {}, None, None)
    return plain._replace(**changes)


def _zip(text: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mine.py"), text)
    return out.getvalue()


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = boto3.client("lambda").get_function(FunctionName="f")["Configuration"]
    return found


# --- an account ---------------------------------------------------------------------------------


def test_first_run_and_second_run(account: Account, said: list[str]) -> None:
    first = account.deploy(wanted(environment={"LAMBDAMAP_ALLOW": "mine:*"}))
    assert (first.created, first.changed) == (True, True)
    assert first.arn == f"arn:aws:lambda:{REGION}:123456789012:function:f"
    assert said == ["created the role lambdamap-f", "created the function f"]
    found = configuration()
    assert found["Handler"] == "lambdamap.worker.entry.handler"
    assert (found["Runtime"], found["MemorySize"], found["Timeout"]) == ("python3.12", 512, 60)
    assert found["CodeSha256"] == wanted().digest
    assert found["Environment"]["Variables"] == {"LAMBDAMAP_ALLOW": "mine:*"}
    iam = boto3.client("iam")
    policy = iam.get_role_policy(RoleName="lambdamap-f", PolicyName=f"log-{REGION}")
    actions = [statement["Action"] for statement in policy["PolicyDocument"]["Statement"]]
    assert actions == ["logs:CreateLogGroup", ["logs:CreateLogStream", "logs:PutLogEvents"]]
    assert iam.list_attached_role_policies(RoleName="lambdamap-f")["AttachedPolicies"] == []

    said.clear()
    again = account.deploy(wanted(environment={"LAMBDAMAP_ALLOW": "mine:*"}))
    assert (again.created, again.changed) == (False, False)
    assert said == ["f is up to date"]

    said.clear()
    boto3.client("lambda").update_function_configuration(
        FunctionName="f", Environment={"Variables": {"LAMBDAMAP_ALLOW": "old", "THEIRS": "1"}}
    )
    changed = account.deploy(
        wanted(archive=_zip("x = 2"), memory_mb=1024, environment={"LAMBDAMAP_ALLOW": "mine:*"})
    )
    assert (changed.created, changed.changed) == (False, True)
    assert said == ["updated the code of f", "updated the settings of f"]
    found = configuration()
    assert found["MemorySize"] == 1024
    assert found["CodeSha256"] == wanted(archive=_zip("x = 2")).digest
    assert found["Environment"]["Variables"] == {"LAMBDAMAP_ALLOW": "mine:*", "THEIRS": "1"}


def test_delete(account: Account, said: list[str]) -> None:
    account.deploy(wanted())
    said.clear()
    account.delete("f")
    assert said == ["deleted the function f", "deleted the role lambdamap-f"]
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("iam").list_roles()["Roles"] == []
    account.delete("f")
    assert said[2:] == [f"the function f does not exist in {REGION}"]


def test_the_role_is_there_already(account: Account, said: list[str]) -> None:
    account.deploy(wanted())
    account._lambda.delete_function(FunctionName="f")
    said.clear()
    account.deploy(wanted())
    assert said == ["created the function f"]


def test_a_role_of_that_name_that_lambda_may_not_assume(account: Account) -> None:
    iam = boto3.client("iam")
    iam.create_role(RoleName="lambdamap-f", AssumeRolePolicyDocument=TRUST)
    with pytest.raises(ConfigError, match="trust policy, or pass --role"):
        account.deploy(wanted())
    account.delete("f")
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["lambdamap-f"]


def test_a_given_role_is_used_and_kept(account: Account) -> None:
    trust = TRUST.replace("ec2", "lambda")
    iam = boto3.client("iam")
    arn = iam.create_role(RoleName="mine", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    account.deploy(wanted(role=arn))
    assert configuration()["Role"] == arn
    account.delete("f")
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["mine"]


def test_a_given_role_that_is_not_there(account: Account) -> None:
    with pytest.raises(ConfigError, match="AWS rejected CreateFunction"):
        account.deploy(wanted(role="arn:aws:iam::123456789012:role/nobody"))


def test_a_function_of_somebody_else(account: Account) -> None:
    account.deploy(wanted())
    boto3.client("lambda").untag_resource(
        Resource=f"arn:aws:lambda:{REGION}:123456789012:function:f", TagKeys=["lambdamap"]
    )
    with pytest.raises(ConfigError, match="was not created by lambdamap"):
        account.deploy(wanted(archive=_zip("x = 2")))
    with pytest.raises(ConfigError, match="was not created by lambdamap"):
        account.delete("f")
    assert configuration()["CodeSha256"] == wanted().digest


def test_from_zip_to_image(account: Account) -> None:
    account.deploy(wanted())
    image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/f:1"
    with pytest.raises(ConfigError, match="`lambdamap delete f` first"):
        account.deploy(wanted(archive=None, image=image))


def test_a_new_role_is_known_only_later(account: Account, front: Front, said: list[str]) -> None:
    text = "The role defined for the function cannot be assumed by Lambda."
    front.fail("POST", CREATE, 400, "InvalidParameterValueException", text, times=2)
    account.deploy(wanted())
    assert said.count("waiting until the role can be assumed") == 2
    assert configuration()["State"] == "Active"


def test_somebody_else_changes_it(account: Account, front: Front) -> None:
    account.deploy(wanted())
    text = "The operation cannot be performed at this time. An update is in progress."
    # boto3 itself does not try a conflict again.
    front.fail("PUT", FUNCTION, 409, "ResourceConflictException", text)
    with pytest.raises(ServiceError, match=r"An update is in progress.*run the command again"):
        account.deploy(wanted(archive=_zip("x = 2")))
    account.deploy(wanted(archive=_zip("x = 2")))
    assert configuration()["CodeSha256"] == wanted(archive=_zip("x = 2")).digest


def test_a_function_that_does_not_become_ready(account: Account, front: Front) -> None:
    reply = {"FunctionName": "f", "State": "Failed", "StateReason": "the image was deleted"}
    body = json.dumps({"Configuration": reply, "Tags": {}}).encode()

    def failed(method: str, path: str, _: bytes) -> Any:
        made = any(seen == ("POST", "/2015-03-31/functions") for seen in front.seen)
        if method == "GET" and made:
            return 200, {"Content-Type": "application/json"}, body
        return None

    front.rules.append(failed)
    with pytest.raises(ServiceError, match="the image was deleted"):
        account.deploy(wanted())


def test_a_zip_that_needs_a_bucket(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdamap.deploy.account.MAX_DIRECT_BYTES", 10)
    with pytest.raises(ConfigError, match="--bucket with an S3 bucket in eu-central-1"):
        account.deploy(wanted())
    with pytest.raises(ConfigError, match="--bucket must name an S3 bucket"):
        account.deploy(wanted(bucket="nowhere"))
    boto3.client("s3").create_bucket(
        Bucket="mine", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    account.deploy(wanted(bucket="mine"))
    assert configuration()["CodeSha256"] == wanted().digest


def test_regions(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean eu-central-1"):
        Account("eu-centrl-1")
    account = Account("us-west-2", wait_s=0.01)
    assert account.deploy(wanted()).arn.split(":")[3] == "us-west-2"
    assert boto3.client("lambda").list_functions()["Functions"] == []
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigError, match="no AWS region: pass --region"):
        Account()
    with pytest.raises(ConfigError, match="list-profiles"):
        Account(REGION, "nobody")


def test_no_credentials_and_no_network(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConfigError, match="Check the network and the region"):
        Account()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        Account()


@pytest.mark.parametrize("name", ["", "a b", "f:1", "x" * 65, "../f"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64 letters"):
        check_name(name)


def test_long_names(account: Account) -> None:
    account.deploy(wanted(name="x" * 64))
    account.deploy(wanted(name="x" * 63 + "y"))
    roles = boto3.client("iam").list_roles()["Roles"]
    assert len({role["RoleName"] for role in roles}) == 2


# --- permissions: moto checks policies here (but for iam:PassRole and tags, which it does not know) ---

NEEDED = {
    "iam:GetRole",
    "iam:CreateRole",
    "iam:TagRole",
    "iam:PutRolePolicy",
    "iam:PassRole",
    "lambda:GetFunction",
    "lambda:CreateFunction",
    "lambda:TagResource",
}


@pytest.fixture
def guarded(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that makes the present user one with these permissions and no others."""
    tell(moto, "reset")
    for name, value in moto.items():
        monkeypatch.setenv(name, value)
    iam = boto3.client("iam")

    def become(*actions: str) -> None:
        iam.create_user(UserName="u")
        statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": "*"}
        iam.put_user_policy(
            UserName="u",
            PolicyName="p",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )
        key = iam.create_access_key(UserName="u")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        tell(moto, "reset-auth", "0")

    yield become
    tell(moto, "reset-auth", "1000000")


def test_what_is_needed_is_enough(guarded: Any) -> None:
    guarded(*NEEDED)
    assert Account(wait_s=0.01).deploy(wanted()).created


@pytest.mark.parametrize("missing", ["iam:GetRole", "iam:CreateRole", "iam:PutRolePolicy"])
def test_the_missing_permission_is_named(guarded: Any, missing: str) -> None:
    guarded(*NEEDED - {missing})
    with pytest.raises(AccessDeniedError, match=f"missing permission {missing}") as caught:
        Account(wait_s=0.01).deploy(wanted())
    assert "pass --role" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "path", "missing"),
    [
        ("GET", FUNCTION, "lambda:GetFunction"),
        ("POST", CREATE, "lambda:CreateFunction"),
        ("POST", CREATE, "iam:PassRole"),
    ],
)
def test_as_lambda_itself_denies(
    account: Account, front: Front, method: str, path: str, missing: str
) -> None:
    """In the form of its own protocol, which moto does not keep."""
    text = f"User: arn:aws:iam::123456789012:user/u is not authorized to perform: {missing} on resource: x"
    front.fail(method, path, 403, "AccessDeniedException", text)
    with pytest.raises(AccessDeniedError, match=f"missing permission {missing}"):
        account.deploy(wanted())


@pytest.mark.parametrize(
    ("method", "path", "missing"),
    [
        ("PUT", f"{CREATE}/f/code", "lambda:UpdateFunctionCode"),
        ("PUT", f"{CREATE}/f/configuration", "lambda:UpdateFunctionConfiguration"),
        ("DELETE", f"{CREATE}/f", "lambda:DeleteFunction"),
    ],
)
def test_a_change_and_the_end_are_denied(
    account: Account, front: Front, method: str, path: str, missing: str
) -> None:
    account.deploy(wanted())
    text = f"User: arn:aws:iam::123456789012:user/u is not authorized to perform: {missing} on resource: x"
    front.fail(method, path, 403, "AccessDeniedException", text)
    with pytest.raises(AccessDeniedError, match=f"missing permission {missing}"):
        if method == "DELETE":
            account.delete("f")
        else:
            account.deploy(wanted(archive=_zip("x = 2"), memory_mb=1024))
    account.delete("f")
    assert boto3.client("iam").list_roles()["Roles"] == []


def test_wrong_keys(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded(*NEEDED)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    with pytest.raises(AccessDeniedError, match="AWS rejected the credentials"):
        Account()


# --- packing --------------------------------------------------------------------------------------


def tiny_wheel(folder: Path, name: str, tag: str, text: str, version: str = "1.0") -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", text)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        pure = str("any" in tag).lower()
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def packed(place: Path, **more: Any) -> Path:
    folder = place / "function"
    folder.mkdir()
    package.build(folder, package.Runtime.here(), **more)
    return folder


def test_what_is_packed_runs_from_alone(tmp_path: Path) -> None:
    """Zip, unzip into an empty folder, and run that with AWS's runtime client and nothing else."""
    wheel = tiny_wheel(tmp_path, "tinydep", "py3-none-any", "FACTOR = 7\n")
    (tmp_path / "requirements.txt").write_text(f"{wheel}\n")
    (tmp_path / "my_features").mkdir()
    (tmp_path / "my_features" / "__init__.py").write_text("")
    (tmp_path / "my_features" / "core.py").write_text(
        "import lambdamap\nimport tinydep\n\n"
        "def times(x):\n    return x * tinydep.FACTOR\n\n"
        "def nested(n):\n    return lambdamap.my_map(times, range(n), 2)\n"
    )
    modules = (str(tmp_path / "my_features"),)
    folder = packed(tmp_path, requirements=tmp_path / "requirements.txt", modules=modules)
    assert sorted(package.sizes(folder)) == [
        *("click", "cloudpickle", "h11", "lambdamap", "my_features", "tinydep", "tqdm")
    ]
    assert not list(folder.rglob("*.pyc"))
    package.zip_folder(folder, tmp_path / "a.zip")
    package.zip_folder(folder, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()

    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(unpacked)
    # A worker needs no dispatcher: neither for what it is sent nor for maps inside of that.
    (unpacked / "lambdamap" / f"_net{package.Runtime.here().extension}").unlink()
    variables = {
        "LAMBDAMAP_ALLOW": package.allow_patterns(modules),
        "LAMBDAMAP_BY_VALUE": "1",
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK",
    }
    place = tmp_path / "alone"
    with (
        running_alone(unpacked, place, **variables) as function,
        lambdamap.configure(
            function="f",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
        pytest.MonkeyPatch.context() as patch,
    ):
        for path in (str(tmp_path), str(wheel)):
            patch.syspath_prepend(path)
        import my_features.core  # type: ignore[import-not-found]

        times = my_features.core.times
        assert lambdamap.my_map(times, range(20), 3) == [7 * x for x in range(20)]
        assert lambdamap.my_map(my_features.core.nested, [3]) == [[0, 7, 14]]
        with pytest.raises(lambdamap.RemoteError, match=r"does not load.*lambdamap deploy --wheel"):
            lambdamap.my_map(my_features.core.nested, [3], depth=1)
        assert lambdamap.my_map(lambda x: x + 1, [1, 2]) == [2, 3]
        with pytest.raises(lambdamap.WorkerInitError, match="LAMBDAMAP_ALLOW"):
            lambdamap.my_map(json.dumps, [1])


def test_with_nothing_set_only_the_projects_own_functions_run(tmp_path: Path) -> None:
    """Whose a module is, the worker knows by the metadata of what was packed."""
    wheel = tiny_wheel(tmp_path, "tinydep", "py3-none-any", "def own(x):\n    return x\n")
    (tmp_path / "requirements.txt").write_text(f"{wheel}\n")
    (tmp_path / "mine.py").write_text(
        "from tinydep import own\n\ndef f(x):\n    return own(x) + 1\n"
    )
    modules = (str(tmp_path / "mine.py"),)
    folder = packed(tmp_path, requirements=tmp_path / "requirements.txt", modules=modules)
    for name in ("lambdamap", "click", "cloudpickle", "h11", "tqdm", "tinydep"):
        (record,) = folder.glob(f"{name}-*.dist-info/RECORD")
        assert f"{name}/__init__.py," in record.read_text()
        own = name == "tinydep"  # which pip has installed from a file
        assert own or not list(record.parent.glob("direct_url.json"))

    def run(function: str) -> tuple[Any, str]:
        head = {"protocol": 1, "codec": "json", "function": function, "map": "0" * 32, "chunk": 0}
        head |= {"items": 1, "python": "3", "version": "0"}
        event = {"lambdamap": head, "p": {"items": [4]}}
        answer = client(running.endpoint_url).invoke(FunctionName="f", Payload=json.dumps(event))
        reply = json.loads(answer["Payload"].read())
        return reply.get("r", {}).get("results"), reply.get("error", {}).get("message", "")

    unset = ("LAMBDAMAP_ALLOW", "LAMBDAMAP_BY_VALUE")
    (tmp_path / "first").mkdir()
    with running_alone(folder, tmp_path / "first", auth=False, unset=unset) as running:
        assert run("mine:f") == ([5], "")
        assert "tinydep:own belongs to the installed distribution tinydep" in run("tinydep:own")[1]
        assert "defined as tinydep:own" in run("mine:own")[1]
        assert 'LAMBDAMAP_ALLOW="click:* click.*:*"' in run("click.utils:open_file")[1]
    for record in folder.glob("lambdamap-*.dist-info/RECORD"):
        record.unlink()
    (tmp_path / "second").mkdir()
    with running_alone(folder, tmp_path / "second", auth=False, unset=unset) as running:
        assert "without a RECORD, lambdamap" in run("mine:f")[1]
    for info in folder.glob("*.dist-info"):
        shutil.rmtree(info)
    (tmp_path / "third").mkdir()
    with running_alone(folder, tmp_path / "third", auth=False, unset=unset) as running:
        assert 'set LAMBDAMAP_ALLOW="mine:* mine.*:*"' in run("mine:f")[1]


def client(endpoint_url: str) -> Any:
    """boto3's, for a local Lambda that takes any signature."""
    import boto3

    return boto3.client(
        "lambda",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


def test_the_dependencies_are_those_of_the_distribution() -> None:
    needed = [text for text in importlib.metadata.requires("lambdamap") or () if ";" not in text]
    names = [re.split(r"\W", text)[0] for text in needed]
    assert sorted(names) == list(package._DEPENDENCIES)


def test_wheels_fit_the_function(tmp_path: Path) -> None:
    """Amazon Linux 2023 has glibc 2.34, Amazon Linux 2 has 2.26."""
    wheel = tiny_wheel(tmp_path, "tinynew", "cp312-cp312-manylinux_2_28_x86_64", "")
    target = tmp_path / "t"
    wheels.pip_install(target, package.Runtime("3.12", "x86_64"), [str(wheel)])
    assert (target / "tinynew").exists()
    older = tiny_wheel(tmp_path, "tinyold", "cp311-cp311-manylinux_2_28_x86_64", "")
    for runtime in (package.Runtime("3.11", "x86_64"), package.Runtime("3.12", "arm64")):
        with pytest.raises(ConfigError, match=r"not a supported wheel.*use --image"):
            wheels.pip_install(tmp_path / "u", runtime, [str(older)])


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("small", 1), ("huge", 900), ("large", 500)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_bytes(b"#" * size)
    (tmp_path / "huge-1.0.dist-info").mkdir()
    (tmp_path / "huge-1.0.dist-info" / "METADATA").write_bytes(b"#" * 100)
    assert package.check_size(tmp_path) == 1501
    assert package.sizes(tmp_path) == {"huge": 1000, "large": 500, "small": 1}
    monkeypatch.setattr(package, "MAX_UNZIPPED_BYTES", 1500)
    with pytest.raises(ConfigError, match=r"huge 0 MB, large 0 MB.*--image URI"):
        package.check_size(tmp_path)


# --- lambdamap itself -----------------------------------------------------------------------------

OTHER = package.Runtime("3.12" if package.Runtime.here().python != "3.12" else "3.13", "arm64")
PACKAGE = Path(lambdamap.__file__).parent


def own_wheel(folder: Path, runtime: package.Runtime, platform: str, net: bool = True) -> Path:
    """lambdamap's wheel of the present sources, with this machine's extension modules under the names
    that the runtime looks for."""
    python = "cp" + runtime.python.replace(".", "")
    path = tiny_wheel(folder, "lambdamap", f"{python}-{python}-{platform}", "", __version__)
    with zipfile.ZipFile(path, "a") as archive:
        for source in PACKAGE.rglob("*.py"):
            if source != PACKAGE / "__init__.py":
                archive.write(source, Path("lambdamap", source.relative_to(PACKAGE)))
        for module in ("_codec", "_net")[: 1 + net]:
            library = PACKAGE / f"{module}{package.Runtime.here().extension}"
            archive.write(library, f"lambdamap/{module}{runtime.extension}")
    return path


def contents(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_bytecode_where_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = package.Runtime.here()
    whole = package.zipped(here)
    files = contents(whole)
    compiled = {name for name in files if name.endswith(".pyc")}
    assert f"lambdamap/worker/__pycache__/call.{sys.implementation.cache_tag}.pyc" in compiled
    place = re.compile(re.escape(tempfile.gettempdir().encode()) + rb"/lambdamap-\w+/function")
    assert not any(place.search(files[name]) for name in compiled)  # where it was packed
    sources = {name: text for name, text in files.items() if name not in compiled}
    assert contents(package.zipped(here, max_bytes=len(whole) - 1)) == sources
    size = sum(map(len, files.values()))
    monkeypatch.setattr(package, "MAX_UNZIPPED_BYTES", size - 1)
    assert contents(package.zipped(here)) == sources
    assert not package.compile_sources(tmp_path, OTHER)  # another Python's would not be read


def test_another_python_needs_its_wheel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pass --wheel with lambdamap's wheel"):
        package.build(tmp_path / "a", OTHER)
    wheel = own_wheel(tmp_path, package.Runtime.here(), "linux_x86_64")
    with pytest.raises(ConfigError, match=f"_codec is missing for {OTHER.name} on arm64"):
        package.build(tmp_path / "b", OTHER, wheel=wheel)
    (tmp_path / "no.whl").write_text("no")
    with pytest.raises(ConfigError, match=r"no\.whl is not a wheel"):
        package.build(tmp_path / "c", OTHER, wheel=tmp_path / "no.whl")
    with pytest.raises(ConfigError, match="is not lambdamap's wheel"):
        other = tiny_wheel(tmp_path, "tinydep", "py3-none-any", "")
        package.build(tmp_path / "d", OTHER, wheel=other)
    said: list[str] = []
    (tmp_path / "e").mkdir()
    package.build(tmp_path / "e", OTHER, wheel=own_wheel(tmp_path, OTHER, "any"), say=said.append)
    assert (tmp_path / "e" / "lambdamap" / f"_codec{OTHER.extension}").exists()
    assert said[0] == f"packing lambdamap from {tmp_path / own_wheel(tmp_path, OTHER, 'any').name}"


def test_what_the_function_will_not_be_able_to_do_is_said(tmp_path: Path) -> None:
    """The dispatcher of a checkout needs the system's libcurl, which Lambda does not have."""
    here = package.Runtime.here()
    said: list[str] = []
    packed(tmp_path, say=said.append)
    assert said[0] == "packing lambdamap from this installation"
    assert "cannot call map on Lambda itself (_net needs libcurl.so.4" in said[1]
    assert "pass --wheel" in said[1]
    assert ("--runtime python3.12 or later" in said[1]) == (here.python in ("3.10", "3.11"))
    builds = {path.name for path in (tmp_path / "function" / "lambdamap").glob("*.so")}
    assert builds == {f"_codec{here.extension}", f"_net{here.extension}"}  # none for other Pythons


def test_a_package_that_wants_to_be_lambdamap_is_not(tmp_path: Path) -> None:
    other = tiny_wheel(tmp_path, "lambdamap", "py3-none-any", "print('not this one')")
    (tmp_path / "requirements.txt").write_text(f"{other}\n")
    folder = packed(tmp_path, requirements=tmp_path / "requirements.txt")
    assert "not this one" not in (folder / "lambdamap" / "__init__.py").read_text()


@pytest.mark.parametrize("from_index", [True, False])
def test_the_index_that_this_installation_came_from(tmp_path: Path, from_index: bool) -> None:
    """And no other: the name there might be somebody else's."""
    index, place = tmp_path / "index", tmp_path / "place"
    index.mkdir()
    place.mkdir()
    wheel = own_wheel(index, package.Runtime.here(), "linux_" + platform.machine())
    own_wheel(index, OTHER, "manylinux_2_28_aarch64")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    what = "lambdamap" if from_index else str(wheel)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", what],
        check=True, env=environment,
    )  # fmt: skip
    # pip and what lambdamap imports, behind what is installed there.
    [packages] = (tmp_path / "venv" / "lib").glob("python3.*/site-packages")
    (packages / "others.pth").write_text(str(Path(boto3.__file__).parents[1]))
    code = (
        "import sys; from pathlib import Path; from lambdamap.deploy.package import *; "
        f"build(Path(sys.argv[1]), Runtime{tuple(OTHER)}, say=print)"
    )
    ran = subprocess.run(
        [python, "-c", code, place], env=environment, capture_output=True, text=True, check=False
    )
    if from_index:
        assert "packing lambdamap from the package index\n" in ran.stdout, ran.stderr
        assert (place / "lambdamap" / f"_net{OTHER.extension}").exists()
    else:
        assert "pass --wheel with lambdamap's wheel" in ran.stderr, ran.stdout


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("3.9", None), "3.10 or later"),
        (("ruby", None), "3.10 or later"),
        ((None, "mips"), "arm64"),
    ],
)
def test_runtimes_that_are_none(given: tuple[str | None, str | None], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        package.Runtime.of(*given)


def test_modules_that_are_none(tmp_path: Path) -> None:
    for name in ("nowhere_at_all", "zlib_no", "_codec_no.x"):
        with pytest.raises(ConfigError, match="no module"):
            package.find_module(name)
    (tmp_path / "no-name.py").write_text("")
    with pytest.raises(ConfigError, match="not a Python identifier"):
        package.find_module(str(tmp_path / "no-name.py"))
    assert package.find_module("lambdamap.worker.entry").name == "lambdamap"
    assert package.find_module("tasks").name == "tasks.py"


# --- the commands ---------------------------------------------------------------------------------


def test_from_the_command_line(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x\n")
    archive = package.zipped(package.Runtime.here(), modules=("mine.py",))
    (tmp_path / "function.zip").write_bytes(archive)
    folder = tmp_path / "function"
    with zipfile.ZipFile(tmp_path / "function.zip") as file:
        file.extractall(folder)
    with running_alone(folder, tmp_path / "alone", function_name="f", auth=False) as function:
        front.invoke_url = function.endpoint_url
        done = commands.run("deploy", "f", "--module", "mine", "--memory", "256")
        assert done.returncode == 0, done.stderr
        assert "ok    function     f may be invoked (DryRun)" in done.stderr
        assert "ok    worker       lambdamap" in done.stderr
        assert f"export LAMBDAMAP_FUNCTION=f AWS_REGION={REGION}" in done.stdout.splitlines()
        policy = "".join(line[1:] for line in done.stdout.splitlines()[1:-1])
        assert json.loads(policy) == caller_policy(
            f"arn:aws:lambda:{REGION}:123456789012:function:f"
        )
        # What AWS has is what this test has packed and what has just answered.
        found = configuration()
        assert found["CodeSha256"] == wanted(archive=archive).digest
        assert found["Environment"]["Variables"] == {"LAMBDAMAP_ALLOW": "mine:* mine.*:*"}
        again = commands.run("deploy", "f", "--module", "mine", "--memory", "256")
        assert again.returncode == 0, again.stderr
        assert "f is up to date" in again.stderr
    # The function is there, but not what it was.
    front.invoke_url = None
    broken = commands.run("deploy", "f", "--module", "mine")
    assert broken.returncode == 1
    assert "FAIL" in broken.stderr
    assert "CloudWatch" in broken.stderr
    gone = commands.run("delete", "f")
    assert gone.returncode == 0
    assert "deleted the role lambdamap-f" in gone.stderr


def test_usage_errors(tmp_path: Path) -> None:
    both = commands.run("deploy", "f", "--image", "x", "--requirements", os.devnull)
    assert both.returncode == 2
    assert "Traceback" not in both.stderr
    role = commands.run("deploy", "f", "--role", "mine")
    assert role.returncode == 2
    assert "expected arn:aws:iam::123456789012:role/NAME" in role.stderr
    none = commands.run("deploy", "f", AWS_REGION="us-east-1")
    assert none.returncode == 1
    assert "Unable to locate credentials" in none.stderr
    assert "Traceback" not in none.stderr


def test_dockerfile_for_an_image_that_is_too_old() -> None:
    done = commands.run("dockerfile", "--runtime", "python3.11")
    assert done.returncode == 1
    assert "pass --runtime python3.12 or later" in done.stderr


@pytest.mark.parametrize("command", [("deploy", "f"), ("dockerfile",)])
def test_a_pattern_that_no_name_can_match(command: tuple[str, ...]) -> None:
    done = commands.run(*command, "--allow", "shop:*", "--allow", "shop.price")
    assert done.returncode == 2
    assert "'shop.price', which matches no function: write module:name" in done.stderr


def test_dockerfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "r.txt").write_text("")
    done = commands.run(
        "dockerfile", "--module", "mine", "--requirements", "r.txt", "--runtime", "python3.13",
        "--architecture", "arm64", "--by-value",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert lines == [
        "FROM public.ecr.aws/lambda/python:3.13",
        "COPY lambdamap-*.whl /tmp/",
        "COPY r.txt /tmp/r.txt",
        "RUN pip install --no-cache-dir /tmp/lambdamap-*.whl -r /tmp/r.txt",
        "COPY mine ${LAMBDA_TASK_ROOT}/mine/",
        'ENV LAMBDAMAP_ALLOW="mine:* mine.*:*"',
        'ENV LAMBDAMAP_BY_VALUE="1"',
        'CMD ["lambdamap.worker.entry.handler"]',
    ]
    assert "--platform linux/arm64" in done.stdout
