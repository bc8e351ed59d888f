"""The proxy for an endpoint, from the environment.

libcurl would read the environment on a native thread, while Python may be changing it. So the proxy
is determined here, once per map, and always passed to libcurl.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import urllib.parse
import urllib.request

from lambdamap.errors import ConfigError

__all__ = ["find", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Return whether a host name or address certainly belongs to this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _is_in_excluded_network(host: str) -> bool:
    """Return whether NO_PROXY lists a network with this address; urllib compares only strings."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        for word in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(word.strip().strip("[]"), strict=False):
                    return True
    return False


def find(scheme: str, host: str) -> tuple[str, str, int] | None:
    """Return URL, host and port of the proxy for this host, or None. Loopback is never proxied.

    ``https_proxy`` or ``HTTPS_PROXY`` is used for https endpoints, ``http_proxy`` for http. The
    upper-case HTTP_PROXY is ignored, because a CGI server sets it from a request header.
    ``NO_PROXY`` lists names, parent domains, addresses and networks, or is ``*``.

    Raises
    ------
    ConfigError
        The variable is not the URL of an http or https proxy. Its value is not shown, because it may
        contain a password.
    """
    if is_loopback(host) or urllib.request.proxy_bypass(host) or _is_in_excluded_network(host):
        return None
    name = f"{scheme}_proxy"
    value = os.environ.get(name)
    if not value and scheme == "https":
        name = "HTTPS_PROXY"
        value = os.environ.get(name)
    if not value:
        return None
    try:
        parts = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    is_clean = all(33 <= ord(c) < 127 for c in value)
    if not host or not is_clean or parts.scheme not in ("http", "https") or port == 0:
        raise ConfigError(f"{name} must look like http://[user:password@]host:port")
    return parts.geturl(), host, port or (443 if parts.scheme == "https" else 80)
