"""AWS Lambda, or anything that speaks its Invoke API at ``endpoint_url``."""

from __future__ import annotations

import os
import urllib.parse
from typing import TYPE_CHECKING

from lambdamap import credentials
from lambdamap.backends.route import _MOST_AT_ONCE, Route, is_loopback
from lambdamap.errors import ConfigError

if TYPE_CHECKING:
    from lambdamap.options import Options

__all__ = ["endpoint_url", "region_of", "route"]

_SUFFIXES = {  # partition: its regions' prefixes and its DNS suffix, as botocore's data has them
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
    "eusc-": "amazonaws.eu",
}


def region_of(function: str, options: Options) -> str:
    """Argument, the ARN's, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, then the profile's.

    Raises
    ------
    ConfigError
        None of them is there, or the ARN names another region than the argument.
    """
    parts = function.split(":")
    in_arn = parts[3] if parts[0] == "arn" else None
    region = options.region or in_arn
    if in_arn is not None and region != in_arn:
        raise ConfigError(f"region is {region!r} and the function's ARN is in {in_arn!r}")
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        try:
            import botocore.session

            region = botocore.session.Session(profile=options.profile).get_config_variable("region")
        except ImportError:
            region = None
        except Exception as error:
            raise ConfigError(f"botocore cannot read the profile: {error}") from error
    if not region:
        raise ConfigError("no AWS region: pass region=, or set AWS_REGION")
    from lambdamap.options import _REGION

    if _REGION.fullmatch(region) is None:
        raise ConfigError(f"{region!r} is no AWS region")
    return region


def endpoint_url(region: str) -> str:
    """Where this region's Invoke API is, unless the environment says otherwise."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        for name in ("AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"):
            if value := os.environ.get(name):
                return value
    fips = "-fips" if os.environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true" else ""
    suffix = next((s for p, s in _SUFFIXES.items() if region.startswith(p)), "amazonaws.com")
    if os.environ.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true":
        suffix = "api.amazonwebservices.com.cn" if region.startswith("cn-") else "api.aws"
    return f"https://lambda{fips}.{region}.{suffix}"


def check_url(url: str) -> str:
    """Refuse what is no endpoint. Plain http is for loopback, or an endpoint that was named."""
    parts = urllib.parse.urlsplit(url)
    try:
        port_is_fine = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        port_is_fine = False
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not port_is_fine
        or parts.username is not None
        or parts.query
        or parts.fragment
        or not all(33 <= ord(c) < 127 for c in url)
    ):
        raise ConfigError(f"endpoint_url must look like https://host[:port], not {url!r}")
    return url


def route(options: Options, function: str) -> Route:
    """Where a named function is invoked."""
    region = region_of(function, options)
    url = check_url(options.endpoint_url or endpoint_url(region))
    return Route(
        name="aws",
        url=url,
        function=function,
        region=region,
        credentials=credentials.find(options.credentials, options.profile),
        max_concurrency=_MOST_AT_ONCE,
        trusted=False,
        find=lambda: credentials.find(options.credentials, options.profile),
    )


def is_local_url(url: str) -> bool:
    return is_loopback(urllib.parse.urlsplit(url).hostname or "")
