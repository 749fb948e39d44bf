"""Takes the place of MicroPython's `socket`, so that a test can be any host on the internet.

The environment variable MIP_TEST_HOSTS says where connections to a host go instead, whatever
their port: "name=ip:port,name=ip:port". Everything else is the built-in module's.
"""

import os
import usocket
from usocket import *

_hosts = {}
for _entry in (os.getenv("MIP_TEST_HOSTS") or "").split(","):
    if _entry:
        _name, _address = _entry.split("=")
        _ip, _port = _address.split(":")
        _hosts[_name] = _ip, int(_port)


def getaddrinfo(host, port, *args):
    """As the built-in one, except for the hosts named in MIP_TEST_HOSTS."""
    host, port = _hosts.get(host, (host, port))
    return usocket.getaddrinfo(host, port, *args)
