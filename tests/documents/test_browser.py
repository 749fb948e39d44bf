"""docs/browser.md is true: mip installs in a page, with the session that it shows.

What it types is typed into MicroPython for WebAssembly, where XMLHttpRequest is a stand-in; its
pages are opened in Chromium, where that is installed.
"""

import base64
import functools
import http.server
import json
import shutil
import subprocess
import threading

import pytest
import wasm
from folders import ROOT
from pages import blocks, shows

BLOCKS = blocks((ROOT / "docs" / "browser.md").read_text(encoding="utf-8"))
FILES = {block.file: block.text for block in BLOCKS if block.file}
TYPED = [block for block in BLOCKS if block.language == "pycon"]
NEWEST = wasm.RELEASES[-1]

# The browser's XMLHttpRequest, as far as the session uses it. PAGES: {URL: bytes in base64}.
XHR = """
globalThis.XMLHttpRequest = class {
    status = 0;
    open(method, url, later) {
        if (method !== "GET" || later !== false || !/^https?:/.test(url)) {
            throw new SyntaxError("open");
        }
        this.url = url;
    }
    overrideMimeType(type) {
        this.binary = type === "text/plain; charset=x-user-defined";
    }
    send(body) {
        if (!this.url || body !== null) {
            throw new Error("InvalidStateError");
        }
        if (this.url.startsWith("https://offline/")) {
            throw new Error("NetworkError");
        }
        const page = PAGES[this.url];
        this.status = page === undefined ? 404 : 200;
        this.responseText = [...Buffer.from(page || "", "base64")].map(
            (byte) => String.fromCharCode(byte > 127 && this.binary ? 0xf700 + byte : byte)
        ).join("");
    }
};
"""

# Types lines, and prints what came of each behind a line of its own.
TYPE = """
import sys
for line in %r:
    print("@", line)
    try:
        try:
            value = eval(line)
        except SyntaxError:
            exec(line)
            value = None
        if value is not None:
            print(repr(value))
    except Exception as e:
        sys.print_exception(e, sys.stdout)
"""

OFFLINE = """
import browser, mip
session = browser.Session()
for url in "https://offline/x.py", "nothing:/x.py", "https://host/pi/none.py":
    try:
        mip.install(url, session=session)
    except mip.InstallError as e:
        print("!", e)
print("!", mip.install("morse", index="https://host/pi", session=session))
"""


def pages(index):
    """JavaScript in which PAGES has the files of an index at https://host/pi."""
    found = {
        f"https://host/pi/{file.relative_to(index).as_posix()}": base64.b64encode(
            file.read_bytes()
        ).decode()
        for file in index.rglob("*")
        if file.is_file()
    }
    return f"globalThis.PAGES = {json.dumps(found)};" + XHR


def files():
    """What the page puts into the file system of MicroPython."""
    return {
        "/lib/mip/__init__.py": (ROOT / "mip" / "__init__.py").read_bytes(),
        "/lib/browser.py": FILES["browser.py"].encode(),
    }


WANTED = [steps for block in TYPED for steps in block.steps]


@functools.cache
def both(release, index):
    """What comes of TYPE and of OFFLINE, each in a MicroPython of its own, in one process."""
    page = pages(index)
    codes = TYPE % [line for line, _ in WANTED], OFFLINE
    return wasm.run(release, [wasm.Program(code, files(), page=page) for code in codes])


@pytest.mark.parametrize("release", wasm.RELEASES)
def test_what_is_typed(release, index):
    """On every release what the page types shows what the page says."""
    wanted = WANTED
    assert len(wanted) > 8
    seen, _ = both(release, index)
    assert seen.error == ""
    printed = [part.splitlines()[1:] for part in ("\n" + seen.out).split("\n@")[1:]]
    assert len(printed) == len(wanted)
    for (line, shown), lines in zip(wanted, printed, strict=True):
        # What loads no bytecode asks for source.
        lines = [text.replace("/py/", "/6/") for text in lines]
        assert shows(shown, lines), (line, shown, lines)


@pytest.mark.parametrize("release", wasm.RELEASES)
def test_without_a_network(release, index):
    """What the browser refuses is an InstallError, and what comes then works."""
    _, seen = both(release, index)
    assert seen.error == ""
    offline, scheme, missing, done = [line[2:] for line in seen.lines if line[:1] == "!"]
    assert offline.startswith("https://offline/x.py: the browser does not get it")
    assert scheme.startswith("'nothing:' names no package")
    assert missing.endswith("not found: https://host/pi/none.py")
    assert done == "True"


# ---- in a browser ----------------------------------------------------------------------


def chromium():
    """The path of Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture
def site(tmp_path, index):
    """The directory of a web site with the pages of docs/browser.md, and what they need."""
    site = tmp_path / "site"
    place = wasm.directory(wasm.MICROPYTHON, NEWEST)
    shutil.copytree(index, site / "pi")
    shutil.copytree(
        wasm.directory(wasm.PYSCRIPT, *wasm.PACKAGES[wasm.PYSCRIPT]) / "dist", site / "pyscript"
    )
    (site / "mip").mkdir()
    shutil.copy(ROOT / "mip" / "__init__.py", site / "mip")
    for name in "micropython.mjs", "micropython.wasm":
        shutil.copy(place / name, site)
    for name, text in FILES.items():
        (site / name).write_text(text, encoding="utf-8")
    return site


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {
        ".html": "text/html",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def log_message(self, *words):
        pass


def opened(site, name, profile):
    """What a page of the site looks like in Chromium, as HTML."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            command = [
                chromium(),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--user-data-dir={profile}",
                "--virtual-time-budget=30000",
                "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/{name}",
            ]
            done = subprocess.run(command, capture_output=True, timeout=120, encoding="utf-8")
        finally:
            server.shutdown()
            thread.join()
    return done.stdout


# The page, and what is in it when it is done.
OPENED = {
    "index.html": "Done\nmorse@1.1.0\n['morse@1.1.0']",
    "pyscript.html": "installed: morse@1.1.0",
}


@pytest.mark.skipif(chromium() is None, reason="no Chromium is installed")
@pytest.mark.parametrize("name", OPENED)
def test_a_page(site, tmp_path, name):
    """A page of docs/browser.md installs a package in Chromium."""
    assert OPENED[name] in opened(site, name, tmp_path / "profile")


def test_every_page_is_opened():
    """The pages of docs/browser.md are those that are opened."""
    assert {name for name in FILES if name.endswith(".html")} == set(OPENED)
