"""Endpoints against botocore's own data and resolvers, for every region that it knows."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import ProfileNotFound

import lambdamap
from lambdamap.backends import endpoints
from lambdamap.backends.aws import region_of, route
from lambdamap.options import resolve

LOADER = botocore.session.Session().get_component("data_loader")
PARTITIONS = LOADER.load_data("partitions")
RULES = EndpointProvider(LOADER.load_service_model("lambda", "endpoint-rule-set-1"), PARTITIONS)
BOTH = [(False, False), (True, False), (False, True), (True, True)]


def is_place(region: str) -> bool:
    """Not a pseudo-region such as aws-global or fips-us-east-1, where no function can be."""
    return not region.endswith("-global") and "fips" not in region


def all_regions() -> list[str]:
    """Of the partitions, and of the older table that says where Lambda is."""
    found = {region for part in PARTITIONS["partitions"] for region in part["regions"]}
    for part in LOADER.load_data("endpoints")["partitions"]:
        found |= set(part["regions"]) | set(part["services"].get("lambda", {}).get("endpoints", ()))
    return sorted(filter(is_place, found))


REGIONS = all_regions()


def settings(**values: Any) -> lambdamap.Options:
    return resolve(credentials=("A", "S"), **values)


def test_there_is_something_to_compare() -> None:
    assert len(REGIONS) > 40
    assert {"eusc-de-east-1", "us-gov-west-1", "cn-north-1", "us-isof-south-1"} <= set(REGIONS)


@pytest.mark.parametrize(("fips", "dualstack"), BOTH)
def test_every_region_as_the_rule_set_has_it(fips: bool, dualstack: bool) -> None:
    for region in REGIONS:
        wanted = RULES.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dualstack).url
        assert endpoints.url_of(region, fips=fips, dualstack=dualstack) == wanted, region


@pytest.mark.parametrize(("fips", "dualstack"), BOTH)
def test_regions_that_do_not_exist_yet(fips: bool, dualstack: bool) -> None:
    """A region opened after both were released goes by its partition's pattern."""
    for part in PARTITIONS["partitions"]:
        for region in (r for r in part["regions"] if is_place(r)):
            new = re.sub(r"-[a-z]+-\d+$", "-nowhere-9", region)
            wanted = RULES.resolve_endpoint(Region=new, UseFIPS=fips, UseDualStack=dualstack).url
            assert endpoints.url_of(new, fips=fips, dualstack=dualstack) == wanted, new
            assert endpoints.partition_of(new).name == part["id"]


def test_partitions_support_what_is_taken_for_granted() -> None:
    for part in PARTITIONS["partitions"]:
        outputs = part["outputs"]
        assert outputs["supportsFIPS"] and outputs["supportsDualStack"], part["id"]


def client_url(region: str, profile: str | None = None) -> str:
    """Where a botocore client sends an Invoke. Its `meta.endpoint_url` is of an older table."""
    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", LOADER)  # it reads megabytes
    client = session.create_client(
        "lambda", region, aws_access_key_id="A", aws_secret_access_key="S"
    )
    seen = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        seen.append(request.url)
        return AWSResponse(request.url, 200, {}, io.BytesIO(b"{}"))

    client.meta.events.register("before-send.lambda.Invoke", answer)
    client.invoke(FunctionName="f")
    return str(seen[0]).partition("/2015-03-31/")[0]


@pytest.mark.parametrize(("fips", "dualstack"), BOTH)
def test_clients_agree(fips: bool, dualstack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One region of each partition, through the environment, as botocore's client reads it."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", str(fips).lower())
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", str(dualstack).upper())
    for region in ("us-west-2", "cn-north-1", "us-gov-east-1", "us-iso-east-1", "eusc-de-east-1"):
        found = route(settings(region=region, function="f"), "f")
        assert found.url == client_url(region), region
        assert found.region == region


def test_every_region_is_accepted() -> None:
    for region in REGIONS:
        assert region_of("f", settings(region=region)) == region
        name = endpoints.partition_of(region).name
        arn = f"arn:{name}:lambda:{region}:123456789012:function:f:prod"
        assert region_of(arn, settings(function=arn)) == region


def test_pseudo_regions_are_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    for region in ("fips-us-east-1", "us-east-1-fips"):
        monkeypatch.setenv("AWS_REGION", region)
        with pytest.raises(lambdamap.ConfigError, match="AWS_USE_FIPS_ENDPOINT=true"):
            region_of("f", settings())


# --- overrides ---------------------------------------------------------------------------------


def config_file(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "config"
    path.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))


PROFILE = """
[default]
region = eu-west-1
[profile services]
services = mine
endpoint_url = http://profile.example:1
[services mine]
lambda =
  endpoint_url = http://services.example:2
[profile plain]
endpoint_url = http://profile.example:1
[profile fips]
use_fips_endpoint = true
use_dualstack_endpoint = true
ca_bundle = /etc/ssl/certs/ca-certificates.crt
[profile ignoring]
endpoint_url = http://profile.example:1
ignore_configured_endpoint_urls = true
"""
SOURCES: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({"AWS_ENDPOINT_URL": "http://all.example:3"}, None),
    ({"AWS_ENDPOINT_URL": "http://all.example:3"}, "services"),
    ({"AWS_ENDPOINT_URL_LAMBDA": "http://lambda.example:4"}, "services"),
    (
        {
            "AWS_ENDPOINT_URL_LAMBDA": "http://lambda.example:4",
            "AWS_ENDPOINT_URL": "http://all.example:3",
        },
        None,
    ),
    ({}, "services"),
    ({}, "plain"),
    ({}, "fips"),
    ({}, "ignoring"),
    (
        {
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            "AWS_ENDPOINT_URL_LAMBDA": "http://lambda.example:4",
        },
        "services",
    ),
    ({"AWS_USE_FIPS_ENDPOINT": "false"}, "fips"),
]


@pytest.mark.parametrize(("environment", "profile"), SOURCES)
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_overrides_as_a_client_has_them(
    environment: dict[str, str],
    profile: str | None,
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config_file(PROFILE, tmp_path, monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if profile is not None and how == "environment":
        monkeypatch.setenv("AWS_PROFILE", profile)
    wanted = client_url("eu-west-1", profile if how == "argument" else None)
    options = settings(region="eu-west-1", profile=profile if how == "argument" else None)
    assert endpoints.resolve(options, "eu-west-1")[0] == wanted


def test_the_argument_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file(PROFILE, tmp_path, monkeypatch)
    monkeypatch.setenv("AWS_PROFILE", "services")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://lambda.example:4")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    options = settings(endpoint_url="https://argument.example", region="eu-west-1")
    assert endpoints.resolve(options, "eu-west-1") == ("https://argument.example", None)


@pytest.mark.parametrize("kind", ["FIPS", "DUALSTACK"])
def test_no_aws_variant_of_a_named_endpoint(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore refuses it, too."""
    monkeypatch.setenv(f"AWS_USE_{kind}_ENDPOINT", "true")
    with pytest.raises(lambdamap.ConfigError, match=f"AWS_USE_{kind}_ENDPOINT.*unset one"):
        lambdamap.map(
            abs, [1], function="f", region="us-east-1", endpoint_url="http://127.0.0.1:1",
            credentials=("A", "S"),
        )  # fmt: skip


def test_ca_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file(PROFILE, tmp_path, monkeypatch)
    assert endpoints.resolve(settings(profile="fips"), "us-east-1")[1] == (
        "/etc/ssl/certs/ca-certificates.crt"
    )
    monkeypatch.setenv("AWS_CA_BUNDLE", "/from/environment")
    assert endpoints.resolve(settings(profile="fips"), "us-east-1")[1] == "/from/environment"
    options = settings(profile="fips", ca_bundle="/from/argument")
    assert endpoints.resolve(options, "us-east-1")[1] == "/from/argument"


def test_the_file_is_botocores_and_asked_for_only_when_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def note(profile: str | None) -> endpoints.Settings:
        asked.append(profile)
        return endpoints.Settings()

    monkeypatch.setattr(endpoints, "_from_profile", note)
    config_file(
        "[default]\nregion = eu-west-1\noutput = json\n# endpoint_url\n", tmp_path, monkeypatch
    )
    endpoints.read_settings(settings())
    assert asked == []
    config_file("[default]\n  endpoint_url=http://a.example\n", tmp_path, monkeypatch)
    endpoints.read_settings(settings())
    assert asked == [None]


def test_an_absent_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file(PROFILE, tmp_path, monkeypatch)
    with pytest.raises(lambdamap.ConfigError, match="absent") as caught:
        endpoints.read_settings(settings(profile="absent"))
    assert isinstance(caught.value.__cause__, ProfileNotFound)


# --- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://vpce-0a1b2c-xyz.lambda.us-east-1.vpce.amazonaws.com",
        "https://lambda.us-east-1.amazonaws.com:443",
        "http://localhost:4566",
        "http://[::1]:9000",
        "https://[2001:db8::1]/prefix",
    ],
)
def test_urls_that_can_be(url: str) -> None:
    assert endpoints.check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "lambda.us-east-1.amazonaws.com",
        "ftp://host",
        "https://",
        "https://user:pass@host",
        "https://host/?x=1",
        "https://host#part",
        "https://host:0",
        "https://host:65536",
        "https://host:http",
        "https://ho st",
        "https://host\r\nX: y",
        "https://host\\@evil.com",
        "https://ho%2est",
        "https://[::1",
        "https://evil.com%00.amazonaws.com",
        "http://höst",
    ],
)
def test_urls_that_cannot_be(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(lambdamap.ConfigError):
        endpoints.check_url(url)
    if url.isprintable():
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(lambdamap.ConfigError, match="endpoint_url must look like"):
            endpoints.resolve(settings(), "us-east-1")


def test_a_vpc_endpoint_is_signed_for_its_region() -> None:
    url = "https://vpce-0a1b2c-xyz.lambda.us-east-1.vpce.amazonaws.com"
    found = route(settings(region="us-east-1", endpoint_url=url, function="f"), "f")
    assert (found.url, found.region) == (url, "us-east-1")


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CONFIG_FILE")
    monkeypatch.setenv("HOME", os.devnull)
    assert endpoints.read_settings(settings()) == endpoints.Settings()
