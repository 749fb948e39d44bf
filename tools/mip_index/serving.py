"""Serves an index to boards on the bench and in the LAN: `mip-index serve`."""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from .device import PublishError
from .server import Server
from .store import Index

# What never changes may be kept for as long as anybody wants; what does, for a minute.
IMMUTABLE = "public, max-age=31536000, immutable"
SHORT = "public, max-age=60"


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
    verbose: bool = True,
    ready: Callable[[str], object] | None = None,
) -> None:
    """Serve the index in `directory` until Ctrl-C.

    host: the address to listen on; port: 0 takes a free one; tls: an ssl.SSLContext or None;
    verbose: write a line per request to stderr; ready: a function called with the line that
    installs a package of the index, to be pasted at a board's REPL.
    Raises PublishError if there is no index, OSError if the address cannot be had.
    """
    names = sorted(Index(directory).entries)
    if not names:
        raise PublishError(f"{directory}: no index in it; make one with `build`")
    server = Server(
        directory, tls=tls, host=host, port=port, verbose=verbose, cache_control=cache_control
    )
    # Closed even if Ctrl-C comes before it has begun.
    with contextlib.closing(server), contextlib.suppress(KeyboardInterrupt):
        if ready:
            scheme = "https" if tls else "http"
            url = f"{scheme}://{reachable_address(host)}:{server.port}"
            ready(f'mip.install("{names[0]}", index="{url}")')
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


def own_certificate(address: str, ca_path: str | Path) -> ssl.SSLContext:
    """Return an ssl.SSLContext with a new certificate for `address` and localhost.

    ca_path: where to write the certificate of the authority that a board has to trust: as DER,
    which is what most boards read, if the name ends in .der, else as PEM.
    Raises PublishError if trustme is not installed, OSError if the file cannot be written.
    """
    try:
        import trustme
    except ImportError as error:
        raise PublishError("--tls needs trustme: pip install trustme") from error
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*dict.fromkeys((address, "localhost"))).configure_cert(context)
    certificate = authority.cert_pem.bytes()
    if str(ca_path).endswith(".der"):
        certificate = ssl.PEM_cert_to_DER_cert(certificate.decode())
    Path(ca_path).write_bytes(certificate)
    return context
