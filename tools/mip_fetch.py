"""Fetches what packages are made of, on the host: URLs and paths, as a device does."""

import contextlib
import functools
import http.client
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from mip_source import PublishError

TIMEOUT = 15  # seconds without a byte from the server
PAUSES = (1, 4, 10)  # seconds between attempts
LONGEST = 60  # seconds that a server may have us wait
LIMIT = 1 << 26  # bytes of a file; no board has room for more
# Statuses of servers that are busy.
PASSING = (429, 500, 502, 503, 504)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but to no server that nobody vouches for.

    headers: as for Fetcher; each stays with its host.
    """

    def __init__(self, headers):
        self._headers = headers

    def redirect_request(self, request, *args):
        url = args[-1]
        schemes = ("https",) if request.type == "https" else ("http", "https")
        if urlsplit(url).scheme not in schemes:
            raise PublishError(f"{request.full_url}: redirected to {url}, which is not secure")
        return _with_headers(super().redirect_request(request, *args), self._headers)


class Fetcher:
    """A function of a URL or path that returns its content, bytes, or None where nothing is.

    cafile: a file of certificates, PEM, that vouch for servers; None: the system's.
    headers: {host: {name: value}}, each sent to that host alone.
    Raises PublishError for anything else that goes wrong, naming the URL or path.
    """

    def __init__(self, cafile=None, headers=None):
        self._cafile = cafile
        self._headers = headers or {}

    @functools.cached_property
    def _opener(self):
        # Made when it is needed: to read the system's certificates takes a while.
        try:
            context = ssl.create_default_context(cafile=self._cafile)
        except OSError as error:
            raise PublishError(f"{self._cafile}: no certificates: {error}") from error
        return urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _Redirects(self._headers)
        )

    def __call__(self, location):
        if "://" not in location:
            return self._read(location)
        if urlsplit(location).scheme not in ("http", "https"):
            raise PublishError(f"{location}: neither http nor https")
        for pause in (*PAUSES, None):
            try:
                return self._get(location)
            except _Passing as error:
                if pause is None:
                    raise PublishError(f"{location}: {error}") from error
                time.sleep(min(error.wait or pause, LONGEST))
        return None

    def _read(self, path):
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise PublishError(f"{path}: {error}") from error

    def _get(self, url):
        """Return the content of a URL or None. Raises _Passing for what may be better soon."""
        try:
            request = _with_headers(urllib.request.Request(escape(url)), self._headers)
            with contextlib.closing(self._opener.open(request, timeout=TIMEOUT)) as answer:
                data = answer.read(LIMIT + 1)
                cut = answer.length  # bytes that were promised and did not come
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            if error.code in PASSING:
                wait = error.headers.get("Retry-After", "")
                raise _Passing(f"the server answers {error.code}", wait) from error
            raise PublishError(f"{url}: the server answers {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # URLError is an OSError, and has the one that it was as its reason.
            reason = getattr(error, "reason", error)
            if isinstance(reason, ConnectionError | TimeoutError | http.client.IncompleteRead):
                raise _Passing(f"the connection broke: {reason}") from error
            raise PublishError(f"{url}: {reason or type(error).__name__}") from error
        if len(data) > LIMIT:
            raise PublishError(f"{url}: more than {LIMIT} bytes")
        if cut:
            raise _Passing(f"the connection broke, with {cut} bytes to come")
        return data


class _Passing(Exception):
    """A failure that may have gone in a while; wait: what a Retry-After says, text."""

    def __init__(self, text, wait=""):
        super().__init__(text)
        self.wait = int(wait) if wait.isdecimal() else 0


def _with_headers(request, headers):
    """Give a urllib Request the headers for its host; they are not for where it redirects to."""
    if request:
        for name, value in headers.get(urlsplit(request.full_url).hostname, {}).items():
            request.add_unredirected_header(name, value)
    return request


def escape(url):
    """Return a URL as it is sent: what is not printable ASCII, and spaces, as %XX."""
    data = url.split("#")[0].encode()
    return "".join(chr(byte) if 32 < byte < 127 else f"%{byte:02X}" for byte in data)


def parse_headers(texts):
    """Return {host: {name: value}} of a list of texts HOST:NAME:VALUE.

    Raises PublishError for one of another form.
    """
    headers = {}
    for text in texts:
        host, name, value = (*text.split(":", 2), "", "")[:3]
        if not host or not name or not value:
            raise PublishError(f"a header is HOST:NAME:VALUE, not {text!r}")
        headers.setdefault(host.lower(), {})[name.strip()] = value.strip()
    return headers
