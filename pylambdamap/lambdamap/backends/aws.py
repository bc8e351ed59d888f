"""AWS Lambda, or another implementation of its Invoke API at ``endpoint_url``."""

from __future__ import annotations

import os
import urllib.parse
from typing import TYPE_CHECKING

from lambdamap._checks import is_region, qualifier_of
from lambdamap.backends import credentials
from lambdamap.backends.endpoints import is_own, resolve
from lambdamap.backends.proxies import is_loopback
from lambdamap.backends.route import MOST_AT_ONCE, Route
from lambdamap.errors import ConfigError

if TYPE_CHECKING:
    from lambdamap.options import Options

__all__ = ["region_of", "route"]


def region_of(function: str, options: Options) -> str:
    """Return the region of a function.

    The first that is set of the option, the ARN's region, ``AWS_REGION``, ``AWS_DEFAULT_REGION`` and
    the profile's region.

    Raises
    ------
    ConfigError
        None is set, it is not a region, or the ARN is in another region than the option.
    """
    parts = function.split(":")
    in_arn = parts[3] if parts[0] == "arn" else None
    region = options.region or in_arn
    if in_arn is not None and region != in_arn:
        raise ConfigError(
            f"region is {region!r}, but the function's ARN is in {in_arn!r}: leave region= out"
        )
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        try:
            import botocore.session

            region = botocore.session.Session(profile=options.profile).get_config_variable("region")
        except ImportError:
            region = None
        except Exception as error:
            raise ConfigError(
                f"botocore cannot read the profile: {error}: see `aws configure list-profiles`"
            ) from error
    if not region:
        raise ConfigError("no AWS region: pass region=, or set AWS_REGION")
    if not is_region(region):
        raise ConfigError(f"{region!r} is not an AWS region{_fips_hint(region)}")
    return region


def _fips_hint(region: str) -> str:
    if "fips" not in region:
        return ""
    return ": use the region's own name, and set AWS_USE_FIPS_ENDPOINT=true"


def _qualified(function: str, options: Options) -> tuple[str, str | None]:
    """Return the function, and its qualifier unless that is part of the name.

    Raises
    ------
    ConfigError
        The name contains another qualifier than the option.
    """
    wanted, in_name = options.qualifier, qualifier_of(function)
    if wanted is None or in_name is None:
        return function, wanted
    if options.function is None:  # inside Lambda: another version of this function
        return function.removesuffix(f":{in_name}"), wanted
    if in_name != wanted:
        raise ConfigError(
            f"qualifier is {wanted!r}, but the function's name ends with :{in_name}: leave one out"
        )
    return function, None


def route(options: Options, function: str) -> Route:
    """Return the route to a function on AWS."""
    region = region_of(function, options)
    name, qualifier = _qualified(function, options)
    url, ca_bundle = resolve(options, region)
    return Route(
        name="aws",
        url=url,
        function=name,
        qualifier=qualifier,
        region=region,
        credentials=credentials.find(options.credentials, options.profile),
        max_concurrency=MOST_AT_ONCE,
        trusted=False,
        find=lambda: credentials.find(options.credentials, options.profile),
        reports=is_own(url),
        ca_bundle=ca_bundle,
    )


def is_local_url(url: str) -> bool:
    return is_loopback(urllib.parse.urlsplit(url).hostname or "")
