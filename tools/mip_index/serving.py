"""Serves an index to boards on the bench and in the LAN: `mip-index serve`."""

import contextlib
import errno
import re
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .device import PublishError
from .server import Server
from .store import ANY, Index, native_indexes

# What never changes may be kept for as long as anybody wants; what does, for a minute.
IMMUTABLE = "public, max-age=31536000, immutable"
SHORT = "public, max-age=60"
# Linux's request for the address of an interface.
SIOCGIFADDR = 0x8915

_UNCHANGING = re.compile(
    r"(/\w+_\d+\.\d+)?/(file/[0-9a-f]{2}/[0-9a-f]+|package/[^/]+/[^/]+/(?!latest\.json$)[^/]+\.json)"
)


def cache_control(path: str) -> str:
    """Return how long a file of an index may be kept: the value of its Cache-Control.

    path: the path in the file's URL.
    """
    return IMMUTABLE if _UNCHANGING.fullmatch(path) else SHORT


def serve(
    directory: str | Path,
    *,
    host: str = "0.0.0.0",
    port: int = 8000,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[str], object] = print,
) -> None:
    """Serve the index in `directory` until Ctrl-C.

    host: the address to listen on; port: 0 takes a free one; tls: an ssl.SSLContext or None;
    ready: a function called with the line that installs a package of the index, to be pasted at
    a board's REPL.  Each request is a line on stderr.
    Raises PublishError if there is no index, or if the address cannot be had.
    """
    index, inside = Index(directory), ""
    if not index.entries:
        index, inside = next(iter(native_indexes(directory).values()), index), f"/{ANY}"
    if not index.entries:
        raise PublishError(f"{directory}: no index in it: make one with `build`")
    try:
        server = Server(
            directory, tls=tls, host=host, port=port, verbose=True, cache_control=cache_control
        )
    except OSError as error:
        where = f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise PublishError(
                f"{where}: another program listens there: end it, or take another --port"
            ) from error
        raise PublishError(f"{where}: {error.strerror}: give another --bind or --port") from error
    # Closed even if Ctrl-C comes before it has begun.
    with contextlib.closing(server), contextlib.suppress(KeyboardInterrupt):
        url = f"http{'s' * bool(tls)}://{reachable_address(host)}:{server.port}"
        ready(f'mip.install("{min(index.entries)}", index="{url}{inside}")')
        server.serve_forever()


def reachable_address(host: str) -> str:
    """Return an address under which boards reach a server that listens on `host`."""
    if host != "0.0.0.0":
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            # Sends nothing, only picks the network interface. The address is one of those
            # that RFC 5737 sets aside for examples.
            sock.connect(("192.0.2.1", 9))
            address: str = sock.getsockname()[0]
            return address
        except OSError:
            # There is no network.
            return "127.0.0.1"


def certificate_names(host: str) -> list[str]:
    """Return the addresses and names of a server that listens on `host`, the likeliest first."""
    if host not in ("0.0.0.0", "127.0.0.1", "localhost"):
        return [host]
    found = [reachable_address(host)]
    if host == "0.0.0.0":
        with contextlib.suppress(OSError):  # where nobody knows this computer by its name
            found += socket.gethostbyname_ex(socket.gethostname())[2]
    if host == "0.0.0.0" and sys.platform == "linux":
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # an interface that has no address
                    row = fcntl.ioctl(sock, SIOCGIFADDR, struct.pack("256s", name.encode()))
                    found.append(socket.inet_ntoa(row[20:24]))
    return list(dict.fromkeys([*found, "127.0.0.1", "localhost"]))


def own_certificate(names: Sequence[str], der: bool) -> tuple[ssl.SSLContext, bytes]:
    """Return an ssl.SSLContext with a new certificate for these names, and what vouches for it.

    The latter is the certificate of the authority that a board has to trust, as PEM or DER.
    """
    import trustme  # only --tls needs it

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    certificate = authority.cert_pem.bytes()
    return context, ssl.PEM_cert_to_DER_cert(certificate.decode()) if der else certificate
