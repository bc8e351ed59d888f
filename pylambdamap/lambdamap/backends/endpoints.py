"""The URL of a region's Invoke API, and the settings that override it.

The rules are those of botocore's endpoint rule set for Lambda and of its partitions; tests compare
the two. The environment is read here. AWS configuration files are parsed by botocore, and only if
they contain a relevant setting.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lambdamap.errors import ConfigError

if TYPE_CHECKING:
    from lambdamap.options import Options

__all__ = [
    "Partition",
    "Settings",
    "check_url",
    "is_own",
    "partition_of",
    "read_settings",
    "resolve",
    "url_of",
]


class Partition(NamedTuple):
    """A group of regions with its own DNS suffixes."""

    name: str
    prefixes: tuple[str, ...]  # of its regions' names
    suffix: str
    dualstack_suffix: str


# The first with a matching prefix applies; the last matches all regions, as in botocore.
_PARTITIONS = (
    Partition("aws-cn", ("cn-",), "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    Partition("aws-eusc", ("eusc-",), "amazonaws.eu", "api.amazonwebservices.eu"),
    Partition("aws-iso", ("us-iso-",), "c2s.ic.gov", "api.aws.ic.gov"),
    Partition("aws-iso-b", ("us-isob-",), "sc2s.sgov.gov", "api.aws.scloud"),
    Partition("aws-iso-e", ("eu-isoe-",), "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    Partition("aws-iso-f", ("us-isof-",), "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    Partition("aws-us-gov", ("us-gov-",), "amazonaws.com", "api.aws"),
    Partition("aws", ("",), "amazonaws.com", "api.aws"),
)


def partition_of(region: str) -> Partition:
    return next(found for found in _PARTITIONS if region.startswith(found.prefixes))


def url_of(region: str, *, fips: bool = False, dualstack: bool = False) -> str:
    """Return the URL of a region's Invoke API on AWS."""
    partition = partition_of(region)
    suffix = partition.dualstack_suffix if dualstack else partition.suffix
    return f"https://lambda{'-fips' if fips else ''}.{region}.{suffix}"


def is_own(url: str) -> bool:
    """Return whether an endpoint is AWS's own, also one in a VPC."""
    host = urllib.parse.urlsplit(url).hostname or ""
    suffixes = {suffix for found in _PARTITIONS for suffix in found[2:]}
    return any(host.endswith(f".{suffix}") for suffix in suffixes)


class Settings(NamedTuple):
    """Settings of the environment and the profile; None and False are unset."""

    endpoint_url: str | None = None
    fips: bool = False
    dualstack: bool = False
    ca_bundle: str | None = None


_WORDS = re.compile(
    rb"^\s*(?:endpoint_url|use_fips_endpoint|use_dualstack_endpoint|ca_bundle|"
    rb"ignore_configured_endpoint_urls)\s*=",
    re.MULTILINE,
)


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _file_matters() -> bool:
    """Return whether an AWS configuration file of this user contains one of these settings."""
    places = (
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    for place in places:
        try:
            if _WORDS.search(Path(os.path.expandvars(place)).expanduser().read_bytes()):
                return True
        except (OSError, RuntimeError):  # RuntimeError: no home directory
            continue
    return False


def _from_profile(profile: str | None) -> Settings:
    try:
        import botocore.configprovider
        import botocore.exceptions
        import botocore.session
    except ImportError:
        raise ConfigError(
            "the AWS configuration file sets an endpoint, FIPS, dual-stack or a CA bundle, and reading "
            "it needs botocore: pip install 'lambdamap[aws]', or pass endpoint_url= and ca_bundle="
        ) from None
    try:
        session = botocore.session.Session(profile=profile)
        url = None
        if not _is_true(session.get_config_variable("ignore_configured_endpoint_urls")):
            url = botocore.configprovider.ConfiguredEndpointProvider(
                full_config=session.full_config,
                scoped_config=session.get_scoped_config(),
                client_name="lambda",
            ).provide()
        return Settings(
            url,
            _is_true(session.get_config_variable("use_fips_endpoint")),
            _is_true(session.get_config_variable("use_dualstack_endpoint")),
            session.get_config_variable("ca_bundle"),
        )
    except botocore.exceptions.BotoCoreError as error:
        raise ConfigError(
            f"botocore cannot read the profile: {error}: see `aws configure list-profiles`"
        ) from error


def read_settings(options: Options) -> Settings:
    """Return the settings; the environment takes precedence over the profile.

    The endpoint is the first that is set of ``AWS_ENDPOINT_URL_LAMBDA``, ``AWS_ENDPOINT_URL``, the
    profile's ``services`` section and its ``endpoint_url``; none of them is used with
    ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true``.

    Raises
    ------
    ConfigError
        The profile does not exist, or botocore is needed to read it and is not installed.
    """
    env = os.environ
    profile = _from_profile(options.profile) if _file_matters() else Settings()
    url = env.get("AWS_ENDPOINT_URL_LAMBDA") or env.get("AWS_ENDPOINT_URL") or profile.endpoint_url
    if _is_true(env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")):
        url = None
    fips, dualstack = (
        _is_true(env[name]) if env.get(name) else default
        for name, default in (
            ("AWS_USE_FIPS_ENDPOINT", profile.fips),
            ("AWS_USE_DUALSTACK_ENDPOINT", profile.dualstack),
        )
    )
    return Settings(url, fips, dualstack, env.get("AWS_CA_BUNDLE") or profile.ca_bundle)


def check_url(url: str) -> str:
    """Return an endpoint URL after checking it.

    http is allowed for explicit endpoints only; AWS's own, which `url_of` derives, use https.

    Raises
    ------
    ConfigError
        It is not the URL of a host, or has a user, a query or a fragment.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port_is_fine = parts.port is None or 0 < parts.port < 65536
        host = parts.hostname or ""
    except ValueError:
        port_is_fine, host = False, ""
    if (
        not port_is_fine
        or not host
        or parts.scheme not in ("http", "https")
        or parts.username is not None
        or parts.query
        or parts.fragment
        or not all(33 <= ord(c) < 127 and c not in '\\"<>^`{|}' for c in url)
        or not set(host) <= _HOST
    ):
        shown = re.sub(r"//[^/]*@", "//...@", url)  # it may contain a password
        raise ConfigError(f"endpoint_url must look like https://host[:port], got {shown!r}")
    return url


_HOST = set("abcdefghijklmnopqrstuvwxyz0123456789-._:")


def resolve(options: Options, region: str) -> tuple[str, str | None]:
    """Return the endpoint's URL and the CA bundle for it, or None.

    Raises
    ------
    ConfigError
        The URL is malformed, or is set together with FIPS or dual-stack.
    """
    settings = read_settings(options)
    url = options.endpoint_url or settings.endpoint_url
    ca_bundle = options.ca_bundle or settings.ca_bundle
    if url is None:
        return url_of(region, fips=settings.fips, dualstack=settings.dualstack), ca_bundle
    for wanted, name in ((settings.fips, "FIPS"), (settings.dualstack, "DUALSTACK")):
        if wanted:
            raise ConfigError(
                f"both endpoint_url and AWS_USE_{name}_ENDPOINT are set, and the latter is only for "
                "AWS's own endpoints: unset one of them"
            )
    return check_url(url), ca_bundle
