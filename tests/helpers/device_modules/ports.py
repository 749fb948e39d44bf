"""Has the Unix port's network do what that of another port does, and no more.

    import ports

    ports.become("wiznet")      # before mip is imported
    ports.clear                 # what was sent in the clear where TLS was asked for

What each port does was read in its source; the module it is in stands behind. Errors have the
numbers of this machine, where they differ: 107 for ENOTCONN.

Runs on MicroPython.
"""

import builtins
import os
import select
import socket
import sys

try:
    import tls
except ImportError:
    import ssl as tls  # MicroPython before 1.23

clear = []

_EBADF = 9
_EINVAL = 22
_ENOTCONN = 107


class _Part:
    """Has the attributes of `real`, but for those named in `lacks`."""

    lacks = ()

    def __init__(self, real):
        self.real = real

    def __getattr__(self, name):
        if name in self.lacks:
            raise AttributeError("no attribute '%s'" % name)
        return getattr(self.real, name)


# ---- sockets ---------------------------------------------------------------------------


class Socket(_Part):
    """What the sockets of a port do that this one's do not."""

    def __init__(self, *kind):
        self.real = socket.socket(*kind)
        self.connected = False
        self.secure = False

    def connect(self, address):
        self.connected = True
        self.real.connect(address)


class Esp32(Socket):
    """ports/esp32/modsocket.c: an option that it does not know is a line that is printed."""

    def setsockopt(self, level, option, value):
        if option == 1:
            self.real.setsockopt(6, 1, value)


class LwIP(Socket):
    """extmod/modlwip.c: TCP_NODELAY is 0x40; the level is not looked at."""

    def setsockopt(self, level, option, value):
        if option == 0x40:
            self.real.setsockopt(6, 1, value)
        elif option not in (4, 0x20):
            print("Warning: lwip.setsockopt() not implemented")


class Nina(Socket):
    """extmod/network_ninaw10.c: an option that the chip refuses closes the socket."""

    def setsockopt(self, level, option, value):
        self.real.close()
        raise OSError(_EINVAL)


class Wiznet(Socket):
    """extmod/modsocket.c, network_wiznet5k.c: no options, and it always blocks."""

    def setsockopt(self, level, option, value):
        raise OSError(_EINVAL)

    def settimeout(self, seconds):
        raise OSError(_EINVAL if self.connected else _ENOTCONN)

    def setblocking(self, flag):
        self.settimeout(0)


class Zephyr(Socket):
    """ports/zephyr/modsocket.c: it always blocks."""

    lacks = ("setblocking", "settimeout", "ioctl", "sendto")


def _module(kind, arguments=6, **names):
    """The module `socket`, with sockets of a kind and names of constants.

    arguments: how many getaddrinfo() takes.
    """

    class Module:
        AF_INET = socket.AF_INET
        SOCK_STREAM = socket.SOCK_STREAM

        @staticmethod
        def getaddrinfo(*given):
            if len(given) > arguments:
                raise TypeError("function expected at most %d arguments" % arguments)
            return socket.getaddrinfo(*given)

    Module.socket = kind
    for name in names:
        setattr(Module, name, names[name])
    return Module


# ---- select ----------------------------------------------------------------------------


class Poll:
    """select.poll() of stand-ins."""

    def __init__(self):
        self.poller = select.poll()
        self.sockets = []  # [real, stand-in]

    def register(self, sock, *mask):
        real = getattr(sock, "real", sock)
        self.unregister(sock)
        self.sockets.append((real, sock))
        self.poller.register(real, *mask)

    modify = register

    def unregister(self, sock):
        real = getattr(sock, "real", sock)
        if real in [pair[0] for pair in self.sockets]:
            self.sockets = [pair for pair in self.sockets if pair[0] is not real]
            self.poller.unregister(real)

    def poll(self, *timeout):
        found = []
        for real, flags in self.poller.poll(*timeout):
            for pair in self.sockets:
                if pair[0] is real:
                    found.append((pair[1], flags))
        return found

    ipoll = poll


class DeafPoll(Poll):
    """ports/zephyr/modsocket.c: sockets have no MP_STREAM_POLL."""

    def poll(self, *timeout):
        raise OSError(_EINVAL)

    ipoll = poll


def _is_secure(sock):
    # Whether there is TLS on it, or it is the TLS itself.
    return getattr(sock, "secure", True)


class EarlyPoll(Poll):
    """TLS 1.3: a session ticket can be read from the socket before there is an answer."""

    def __init__(self):
        super().__init__()
        self.early = True

    def poll(self, *timeout):
        found = super().poll(*timeout)
        if self.early and not found and timeout == (0,):
            self.early = False
            found = [(sock, select.POLLIN) for _, sock in self.sockets if _is_secure(sock)]
        return found

    ipoll = poll


def _select(kind):
    class Module:
        POLLIN = select.POLLIN
        POLLOUT = select.POLLOUT
        POLLERR = select.POLLERR
        POLLHUP = select.POLLHUP
        poll = kind

    return Module


# ---- TLS -------------------------------------------------------------------------------


class ClearStream:
    """axTLS where the handshake is not done on connect: extmod/modtls_axtls.c.

    ssl_write() sends what it is given as it is, until the handshake is over.
    """

    def __init__(self, sock):
        self.sock = sock

    def write(self, data):
        clear.append(bytes(data))
        return self.sock.write(data)

    def readinto(self, *arguments):
        raise OSError(-256)  # SSL_ERROR_CONN_LOST: the server hangs up

    def readline(self, *arguments):
        raise OSError(-256)

    def setblocking(self, flag):
        self.sock.setblocking(flag)

    def close(self):
        self.sock.close()


def _wrapped(sock, arguments, known):
    # Wraps a stand-in in the TLS of this port; `known` are the keywords of the other one.
    for name in arguments:
        if name not in known:
            raise TypeError("unexpected keyword argument '%s'" % name)
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_NONE
    return context.wrap_socket(sock.real, server_hostname=arguments.get("server_hostname"))


class Unloading:
    """1.21 with mbedtls, extmod/modssl_mbedtls.c: SSLContext with nothing to verify with."""

    lacks = ("load_verify_locations",)
    axtls = False

    def __init__(self, protocol):
        real = tls.SSLContext(protocol)
        if "verify_mode" in self.lacks or self.axtls:
            real.verify_mode = tls.CERT_NONE
        object.__setattr__(self, "real", real)

    def __getattr__(self, name):
        if name in self.lacks:
            raise AttributeError("'SSLContext' object has no attribute '%s'" % name)
        return getattr(self.real, name)

    def __setattr__(self, name, value):
        if name in self.lacks:
            raise AttributeError("'SSLContext' object has no attribute '%s'" % name)
        if self.axtls and value != tls.CERT_NONE:
            raise ValueError("invalid value")
        setattr(self.real, name, value)

    def wrap_socket(self, sock, **arguments):
        for name in arguments:
            if name not in ("server_side", "do_handshake_on_connect", "server_hostname"):
                raise TypeError("unexpected keyword argument '%s'" % name)
        if self.axtls and not arguments.get("do_handshake_on_connect", True):
            return ClearStream(sock)
        sock.secure = True
        return self.real.wrap_socket(sock.real, **arguments)


class Context(Unloading):
    """1.23 and later with mbedtls, extmod/modtls_mbedtls.c."""

    lacks = ()

    def load_verify_locations(self, *given):  # which takes no keywords
        (cadata,) = given
        self.real.load_verify_locations(cadata)


class Positional(Unloading):
    """1.22 with mbedtls, extmod/modssl_mbedtls.c."""

    lacks = ()

    def load_verify_locations(self, cafile=None, *, cadata=None):
        if cafile is not None:
            with open(cafile, "rb") as file:
                self.real.load_verify_locations(file.read())
        if cadata is not None:
            self.real.load_verify_locations(cadata)


class AxTLS(Unloading):
    """1.23 and later with axTLS, extmod/modtls_axtls.c."""

    axtls = True


class OldAxTLS(Unloading):
    """1.21 and 1.22 with axTLS, extmod/modssl_axtls.c."""

    lacks = ("load_verify_locations", "verify_mode")
    axtls = True


def _tls(context, *modes):
    """The module `tls` or `ssl` with a kind of context, and those of the verify modes."""

    class Module:
        PROTOCOL_TLS_CLIENT = tls.PROTOCOL_TLS_CLIENT

    if context:
        Module.SSLContext = context
    for name in modes:
        setattr(Module, name, getattr(tls, name))
    return Module


def _wrapper(*known, modes=(), clearing=False):
    """The module `ssl` of 1.20, which has wrap_socket() with these keywords alone."""

    class Module:
        @staticmethod
        def wrap_socket(sock, **arguments):
            if clearing and not arguments.get("do_handshake", True):
                return ClearStream(sock)
            return _wrapped(sock, arguments, known)

    for name in modes:
        setattr(Module, name, getattr(tls, name))
    return Module


_MODES = ("CERT_NONE", "CERT_OPTIONAL", "CERT_REQUIRED")
_TLS = _tls(Context, *_MODES)

# ---- the ports -------------------------------------------------------------------------

# Port: its modules; None for one that it has not. hash: how many bits of hash() differ.
PORTS = {
    "unix": {},
    "esp32": {"socket": _module(Esp32, IPPROTO_TCP=6, TCP_NODELAY=1)},
    "esp32 before 1.23": {"socket": _module(Esp32, IPPROTO_TCP=6)},
    "lwip": {"socket": _module(LwIP, IPPROTO_TCP=6, TCP_NODELAY=0x40), "hash": 8},
    "lwip before 1.24": {"socket": _module(LwIP, IPPROTO_TCP=6), "hash": 8},
    "nina": {"socket": _module(Nina)},
    "wiznet": {"socket": _module(Wiznet)},
    "zephyr": {
        "socket": _module(Zephyr, 3),
        "select": _select(DeafPoll),
        "tls": None,
        "ssl": None,
    },
    "cc3200": {
        "socket": _module(Socket, 2, IPPROTO_TCP=6),
        "tls": None,
        "ssl": _wrapper("keyfile", "certfile", "server_side", "cert_reqs", "ca_certs"),
    },
    "without select": {"select": None},
    "without statvfs": {"statvfs": None},
    "tls 1.3": {"select": _select(EarlyPoll)},
    "mbedtls 1.22": {"tls": None, "ssl": _tls(Positional, *_MODES)},
    "mbedtls 1.21": {"tls": None, "ssl": _tls(Unloading, *_MODES)},
    "mbedtls 1.20": {
        "tls": None,
        "ssl": _wrapper("server_hostname", "cert_reqs", "cadata", "do_handshake", modes=_MODES),
    },
    "axtls": {"socket": _module(LwIP), "tls": _tls(AxTLS, "CERT_NONE")},
    "axtls 1.22": {"socket": _module(LwIP), "tls": None, "ssl": _tls(OldAxTLS)},
    "axtls 1.20": {
        "socket": _module(LwIP),
        "tls": None,
        "ssl": _wrapper("server_hostname", "do_handshake", clearing=True),
    },
}


def become(port):
    """Has this program run on another port. To be called before mip is imported."""
    wanted = {"socket": _module(Socket), "select": _select(Poll), "tls": _TLS, "ssl": _TLS}
    wanted.update(PORTS[port])
    missing = []
    for name in ("socket", "select", "tls", "ssl"):
        sys.modules.pop(name, None)
        if wanted[name]:
            sys.modules[name] = wanted[name]
        else:
            missing.append(name)
    if missing:
        find = builtins.__import__

        def refuse(name, *rest):
            if name in missing:
                raise ImportError("no module named '%s'" % name)
            return find(name, *rest)

        builtins.__import__ = refuse
    if "hash" in wanted:
        full = builtins.hash
        mask = (1 << wanted["hash"]) - 1
        builtins.hash = lambda value: full(value) & mask
    if "statvfs" in wanted:
        module = _Part(os)
        module.lacks = ("statvfs",)
        sys.modules["os"] = module
