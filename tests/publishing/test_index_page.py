"""The page of an index for people, index.html: in a browser, without JavaScript, from a disk."""

import html.parser
import json
import re
import shutil

import mip_index
import pytest
from mip_index import build
from mip_index.page import render, write_page
from mip_index.store import Index
from playwright.sync_api import expect, sync_playwright
from scripted_server import Server
from test_build import write_json_package, write_package, write_simple
from test_what_is_published import files_of, write_natmod

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

HOSTILE = [
    "<script>document.title = 'run'</script>",
    "</p></summary></details></li></ul><img src=x onerror=\"document.title = 'run'\">",
    "<a href=\"javascript:document.title = 'run'\">here</a> <svg onload=\"document.title='run'\">",
    "<iframe srcdoc=\"<script>parent.document.title='run'</script>\"></iframe> &lt;b&gt; $url",
    "\" onclick=\"document.title='run'\" ' autofocus onfocus='document.title=1' x=\u2028\u202e",
]


class Text(html.parser.HTMLParser):
    """What is in a page: `tags`, and `text` without styles and scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self._open = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open not in ("style", "script") and data.strip():
            self.text.append(data.strip())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The directory of an index with packages of every kind."""
    base = tmp_path_factory.mktemp("page")
    for number, text in enumerate(HOSTILE):
        facts = {"description": text, "license": text, "author": text}
        write_json_package(
            base / "in" / f"evil{number}", version="1", urls=[["e.py", "e.py"]], **facts
        )
        (base / "in" / f"evil{number}" / "e.py").write_text("")
    for version in "0.9", "0.10":
        write_package(
            base / "in" / "client",
            f'metadata(version="{version}", description="Talks to servers.", license="MIT",'
            ' author="A. Person")\nmodule("client.py")\nrequire("tool")\nrequire("elsewhere")',
            client="x = 1\n",
        )
        write_simple(base / "in" / "tool", version, text="y = 1\n")
        build(base / "in", base / "site")
    write_natmod(base / "in" / "fast", "x64", "armv6m")
    write_natmod(base / "in" / "only", "x64", source=False)
    (base / "in" / "only" / "fast.py").unlink()
    build(base / "in", base / "site")
    return base / "site"


# --- What is written ---


def test_what_the_page_says(site):
    """Names, versions, licences, sizes, what is needed, and the lines that install, are there."""
    page = (site / "index.html").read_text("utf-8")
    text = Text(page).text
    size = sum(map(len, files_of(site, "6", "client").values()))
    for words in ("client", "0.10", "Talks to servers.", "MIT", f"· {size:,} bytes", "A. Person"):
        assert any(words in each for each in text), words
    assert "0.10, 0.9" in text and "tool, elsewhere" in text
    assert 'mip.install("client", index="' in text
    assert (
        "mpremote mip install --index" in text and "micropython -m mip install --index '" in text
    )
    pin = Index(site).pin("6", "client", "0.10")
    assert f'mip.install("client@0.10#sha256={pin}", index="' in text


def test_native_code_on_the_page(site):
    """A package with native code names its architectures, also if there is nothing else of it."""
    text = Text((site / "index.html").read_text("utf-8")).text
    assert text.count("armv6m_6.3, x64_6.3") == 1 and text.count("x64_6.3") == 1
    assert "only" in text and text.count('/{MPY_ARCH}_{MPY_VERSION}")') == 1
    # The index of the board first, and the source in the other, where there is some.
    assert text.count('/{MPY_ARCH}_{MPY_VERSION}", "') == 1
    assert text.count("/{MPY_ARCH}_{MPY_VERSION}' --index '") == 1


def test_what_a_line_pins(tmp_path):
    """The line of a version says by how much of their hashes it pins the files."""
    for length, words in (8, "its files by 8 digits of their hashes"), (64, "to the byte"):
        write_simple(tmp_path / "a", "1")
        build(tmp_path / "a", tmp_path / str(length), hash_length=length)
        text = Text((tmp_path / str(length) / "index.html").read_text("utf-8")).text
        assert f"This version, {words}" in text
        assert f"This version, {words}," not in text
    write_simple(tmp_path / "a", "2", requires=["other"])
    build(tmp_path / "a", tmp_path / "64")
    text = Text((tmp_path / "64" / "index.html").read_text("utf-8")).text
    assert "This version, to the byte, but not what it needs" in text


def test_the_page_needs_nothing_else(site):
    """Nothing is fetched, and no attribute or script comes from a package."""
    page = (site / "index.html").read_text("utf-8")
    for tag, attributes in Text(page).tags:
        assert not {"src", "href", "srcset", "data"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
    assert [tag for tag, _ in Text(page).tags].count("script") == 1
    assert "url(" not in page and "@import" not in page


def test_the_page_changes_with_the_index_only(tmp_path, monkeypatch):
    """Of the same index it is the same; a version that is added changes it."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    write_simple(tmp_path / "a", "1")
    build(tmp_path / "a", tmp_path / "site", url="https://host/a&b")
    page = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert "https://host/a&amp;b" in page and "a&b" not in page
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "2")
    build(tmp_path / "a", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text("utf-8") == page
    write_simple(tmp_path / "a", "2")
    build(tmp_path / "a", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text("utf-8") != page


def test_mirrors_have_one_too(tmp_path, index):
    """A mirror has a page as an index has that was built."""
    mip_index.mirror(["crc"], tmp_path / "site", indexes=[str(index)])
    assert "Checksums of sensors" in (tmp_path / "site" / "index.html").read_text("utf-8")


# --- In a browser ---


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    if not BROWSER:
        pytest.skip("there is no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """A function of a URL that opens it; `problems` of the page has what went wrong in it."""
    contexts = []

    def open_page(url, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("request", lambda request: page.problems.append(request.url))
        page.goto(url)
        assert page.problems.pop(0) == url
        return page

    yield open_page
    for context in contexts:
        context.close()


def shown(page):
    """The names of the packages that are shown."""
    return [item.get_attribute("id") for item in page.locator("li > details").all()]


def test_filtering(open_page, site):
    """The box shows packages that have all words in name, version, licence or description."""
    page = open_page(f"file://{site}/index.html")
    everything = shown(page)
    assert everything == sorted(everything) and {"client", "only", "evil0"} < set(everything)
    for words, names in (
        ("clie", ["client"]),
        ("SERVERS talks", ["client"]),
        ("servers nothing", []),
        ("0.10", ["client", "tool"]),
        ("", everything),
    ):
        page.fill("#filter", words)
        assert shown(page) == names
        assert page.locator(".none").is_visible() == (not names)
    assert page.problems == []


def test_copying(open_page, site):
    """A button copies its line, with the URL from which the page came."""
    with Server(site) as server:
        page = open_page(f"{server.url}/index.html", permissions=["clipboard-read"])
        page.locator("#client summary").click()
        expect(page.locator("#client button")).to_have_count(4)
        copied = []
        for button in page.locator("#client button").all():
            button.click()
            page.wait_for_function(
                "element => element.textContent == 'Copied'", arg=button.element_handle()
            )
            copied.append(page.evaluate("navigator.clipboard.readText()"))
        pin = Index(site).pin("6", "client", "0.10")
        assert copied == [
            f'mip.install("client", index="{server.url}")',
            f"mpremote mip install --index {server.url} client",
            f"micropython -m mip install --index '{server.url}' client",
            f'mip.install("client@0.10#sha256={pin}", index="{server.url}")',
        ]
        assert page.problems == []


def test_copying_without_a_clipboard(open_page, site):
    """Without TLS, where browsers have no clipboard, the line is copied all the same."""
    page = open_page(f"file://{site}/index.html", permissions=["clipboard-read"])
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.locator("#tool summary").click()
    page.locator("#tool button").first.click()
    page.locator("#tool button", has_text="Copied").wait_for()
    page.locator("#filter").focus()
    page.keyboard.press("Control+V")
    assert page.input_value("#filter") == 'mip.install("tool", index="URL")'


def test_without_javascript(open_page, site):
    """Without JavaScript it is a list that can be opened, without a box and buttons."""
    page = open_page(f"file://{site}/index.html", java_script_enabled=False)
    assert "client" in shown(page) and "only" in shown(page)
    assert not page.locator("#filter").is_visible()
    page.locator("#client summary").click()
    assert page.locator("#client pre").first.inner_text() == 'mip.install("client", index="URL")'
    assert page.locator("button").count() == 0


def test_hostile_descriptions(open_page, site):
    """What packages say of themselves is text, and no script of theirs runs."""
    page = open_page(f"file://{site}/index.html")
    for number, text in enumerate(HOSTILE):
        page.locator(f"#evil{number} summary").click()
        assert page.locator(f"#evil{number} summary p").text_content() == text
    page.mouse.click(100, 100)
    assert page.title() == "MicroPython packages"
    assert page.locator("main script, main img, main iframe, main a, main svg").count() == 0
    assert page.problems == []


def test_a_script_of_others_does_not_run(open_page, site, tmp_path):
    """The page's policy refuses a script that is not its own, if one got in."""
    page = (site / "index.html").read_text("utf-8")
    evil = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    (tmp_path / "index.html").write_text(page.replace("<main>", f"<main>{evil}"), "utf-8")
    opened = open_page(f"file://{tmp_path}/index.html")
    assert opened.title() == "MicroPython packages"
    assert any("Content Security Policy" in problem for problem in opened.problems)
    # The same without the policy does run, so that this test can fail.
    free = re.sub(r"<meta http-equiv=.*>", "", (tmp_path / "index.html").read_text("utf-8"))
    (tmp_path / "free.html").write_text(free, "utf-8")
    assert open_page(f"file://{tmp_path}/free.html").title() == "run"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(open_page, site, scheme):
    """Text can be read on the background, in both."""
    page = open_page(f"file://{site}/index.html", color_scheme=scheme)

    def luminance(element, what):
        numbers = page.evaluate(f"getComputedStyle(document.querySelector('{element}')).{what}")
        parts = [int(part) / 255 for part in re.findall(r"\d+", numbers)[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    back = luminance("html", "backgroundColor")
    assert (back < 0.5) == (scheme == "dark")
    for element in "b", "summary p", "summary small", "summary i":
        text = luminance(element, "color")
        # WCAG 2: 4.5 to 1 for text of this size.
        assert (max(text, back) + 0.05) / (min(text, back) + 0.05) > 4.5, element


@pytest.mark.parametrize("width", [320, 1280])
def test_no_line_is_wider_than_the_screen(open_page, site, width):
    """On a phone and on a desk, nothing has to be scrolled sideways."""
    page = open_page(f"file://{site}/index.html", viewport={"width": width, "height": 700})
    for name in "client", "only", "evil1":
        page.locator(f"#{name} summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_three_thousand_packages(open_page, tmp_path, index):
    """The page works with 3,000 packages, one of which has a hostile description."""
    site = tmp_path / "site"
    shutil.copytree(index, site)
    listing = json.loads((site / "index.json").read_text())
    (crc,) = [entry for entry in listing["packages"] if entry["name"] == "crc"]
    names = [f"package-{number:04}" for number in range(3000)]
    listing["packages"] = [{**crc, "name": name, "description": f"Of {name}."} for name in names]
    listing["packages"][1234]["description"] = HOSTILE[0]
    (site / "index.json").write_text(json.dumps(listing))
    for kind in ("6", "py"):
        for name in names:
            (site / "package" / kind / name).symlink_to(site / "package" / kind / "crc")
    write_page(Index(site))
    assert render(Index(site)).count("<li>") == 3000
    page = open_page(f"file://{site}/index.html")
    assert page.locator("li").count() == 3000
    page.fill("#filter", "package-1234")
    assert shown(page) == ["package-1234"]
    page.locator("#package-1234 summary").click()
    assert page.locator("#package-1234 summary p").text_content() == HOSTILE[0]
    expect(page.locator("#package-1234 button")).to_have_count(4)
    page.fill("#filter", "of package-2")
    assert page.locator("output").text_content() == "1,000 of 3,000"
    assert page.title() == "MicroPython packages"
    assert page.problems == []
