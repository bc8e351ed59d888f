"""Import both extensions and round-trip a value; run with every Python that was found."""

import sys

from lambdamap import _codec, _net

value = [
    {"id": 1, "values": [0.5, 1.5, float("inf")], "name": "a"},
    (1, None),
    {2, 3},
    b"x",
    1 << 80,
]
assert _codec.decode(_codec.encode(value)) == value
assert _codec.decode_text(_codec.encode_text(value)) == value
assert _net.debug_state()["maps"] == 0
print(sys.version.split()[0], "libcurl", _net.CURL_VERSION, _net.TLS_VERSION)
