"""A session of the computer, by which the device's code fetches: URLs, with urllib."""

import functools
import http.client
import io
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from .device import PublishError, escape

TIMEOUT = 15  # seconds without a byte from the server
GRACE = 60  # seconds until a server that sends slowly has to have sent what follows
RATE = 64  # bytes a second
LIMIT = 1 << 26  # bytes of a file; no board has room for more

# errno values that the device's code knows: a connection that broke, was too slow, was refused.
BROKEN, SLOW, REFUSED = 104, 110, 111

Headers = dict[str, dict[str, str]]


class Answer:
    """An answer, as the device's code reads it.

    wait: seconds that the server asks to be left alone.
    """

    def __init__(self, status: int, data: bytes = b"", wait: str = "") -> None:
        self.status_code = status
        self.raw = io.BytesIO(data)
        self.wait = int(wait) if wait.isdecimal() else 0

    def close(self) -> None:
        """Do nothing: all of it has been read."""


class _Paced(io.RawIOBase):
    """What a server sends, which has to come at a rate: else it could take for ever."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._start = time.monotonic()
        self._got = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._file.readinto1(buffer)
        self._got += size
        if time.monotonic() - self._start > GRACE + self._got / RATE:
            raise TimeoutError("the server is too slow")
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp = io.BufferedReader(_Paced(self.fp))


class _Handler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opens connections whose answers are such responses; each header stays with its host."""

    def __init__(self, context: ssl.SSLContext, headers: Headers) -> None:
        super().__init__(context=context)
        self._headers = headers

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        host = urlsplit(request.full_url).hostname or ""
        for name, value in self._headers.get(host, {}).items():
            request.add_unredirected_header(name, value)
        return self.do_request_(request)

    https_request = http_request

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> Any:
        def connect(*place: Any, **more: Any) -> http.client.HTTPConnection:
            connection: http.client.HTTPConnection = http_class(*place, **more)
            connection.response_class = _Response
            return connection

        return super().do_open(connect, req, **options)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but to no server that nobody vouches for."""

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> Any:
        url = args[-1]
        schemes = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(url).scheme not in schemes:
            raise ValueError(f"redirected to {url}, which is not secure")
        return super().redirect_request(req, *args)


class Session:
    """Fetches URLs, each once, as the device's code wants it: get(url).

    cafile: a file of certificates, PEM, that vouch for servers; None: the system's.
    headers: {host: {name: value}}, each sent to that host alone.
    """

    def __init__(self, cafile: str | None = None, headers: Headers | None = None) -> None:
        self._cafile = cafile
        self._headers = headers or {}
        self._known: dict[str, tuple[int, bytes]] = {}

    @functools.cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        # Made when it is needed: to read the system's certificates takes a while.
        try:
            context = ssl.create_default_context(cafile=self._cafile)
        except OSError as error:
            raise PublishError(f"{self._cafile}: no certificates: {error}") from error
        return urllib.request.build_opener(_Handler(context, self._headers), _Redirects)

    def get(self, url: str) -> Answer:
        """Return the answer for a URL.

        OSError: what may pass. ValueError: what does not, or PublishError before anything is
        asked for.
        """
        if url not in self._known:
            answer = self._ask(url)
            if answer.status_code not in (200, 404):
                return answer
            self._known[url] = answer.status_code, answer.raw.getvalue()
        return Answer(*self._known[url])

    def _ask(self, url: str) -> Answer:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("neither http nor https")
        try:
            with self._opener.open(escape(url), timeout=TIMEOUT) as answer:
                data: bytes = answer.read(LIMIT + 1)
                cut = answer.length  # bytes that were promised and did not come
        except urllib.error.HTTPError as error:
            error.close()
            return Answer(error.code, wait=error.headers.get("Retry-After", ""))
        except (OSError, http.client.HTTPException) as error:
            # URLError is an OSError, and has the one that it was as its reason.
            reason = getattr(error, "reason", error)
            if isinstance(reason, ConnectionRefusedError):
                raise OSError(REFUSED, str(reason)) from error
            if isinstance(reason, TimeoutError):
                raise OSError(SLOW, str(reason)) from error
            if isinstance(reason, ConnectionError | http.client.IncompleteRead):
                raise OSError(BROKEN, str(reason)) from error
            if isinstance(reason, socket.gaierror):
                raise ValueError("the host is not known") from error
            words = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
            raise ValueError(words) from error
        if len(data) > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        if cut:
            raise OSError(BROKEN, f"with {cut} bytes to come")
        return Answer(200, data)


def parse_headers(texts: Iterable[str]) -> Headers:
    """Return {host: {name: value}} of a list of texts HOST:NAME:VALUE.

    Raises PublishError for one of another form.
    """
    headers: Headers = {}
    for text in texts:
        host, name, value = (*text.split(":", 2), "", "")[:3]
        if not host or not name or not value:
            raise PublishError(f"a header is HOST:NAME:VALUE, not {text!r}")
        headers.setdefault(host.lower(), {})[name.strip()] = value.strip()
    return headers
