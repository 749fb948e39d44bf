"""What the tests share: boards, servers, an index, and the figures printed at the end."""

import gc
import os
import shutil
import ssl
import sys
import time
from types import SimpleNamespace

import left_out
import mip_index
import pytest
import quick_disk
import scripted_server as mip_server
import size
import trustme
from abilities import lacking
from device import Device, interpreter
from folders import BUILD, PACKAGES, ROOT
from internet import Internet, running_servers

# The names that the test servers' certificate is good for.
HOSTS = (
    "localhost",
    "127.0.0.1",
    "raw.githubusercontent.com",
    "gitlab.com",
    "codeberg.org",
    "micropython.org",
    "host",
)

FIGURE = "figure"
MATRIX = "matrix"

# Seconds between two lines that say what the tests are at.
PROGRESS = 30

# The modules whose tests, or what these share, take longest.
SWEEPS = (
    "test_bench",
    "test_board",
    "test_disk_errors",
    "test_fill_levels",
    "test_publish_page",
    "test_kill",
    "test_releases",
    "test_memory",
    "test_network_faults",
    "test_power_cuts",
)


def pytest_addoption(parser):
    parser.addoption(
        "--source",
        action="store_true",
        help="test mip/*.py as they are, not as `mpy-cross -O3` compiles them for boards",
    )


def pytest_configure(config):
    # Nothing that a test run makes is left outside the repository's build/ and .venv/.
    temporary = BUILD / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ:
        place = quick_disk.make()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(place or temporary)
        if place:
            config.add_cleanup(lambda: quick_disk.clear(place, temporary))
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(BUILD / "hypothesis"))
    config.pluginmanager.register(Figures())
    if not hasattr(config, "workerinput") and not sys.stdout.isatty():
        config.pluginmanager.register(Progress(config))
    config.addinivalue_line("markers", "needs(*names): abilities.ABILITIES of the interpreter")


def pytest_collection_modifyitems(items):
    for item in items:
        needed = [name for mark in item.iter_markers("needs") for name in mark.args]
        if needed and os.environ.get("MICROPYTHON"):
            why = lacking(needed)
            if why:
                item.add_marker(pytest.mark.skip(reason=why))
        why = left_out.why(item.nodeid, left_out.without())
        if why:
            item.add_marker(pytest.mark.skip(reason=why))
    # The long ones first, so that no process has one left when the other is done; and together,
    # so that what a module shares is made by one of them.
    items.sort(key=lambda item: item.path.stem not in SWEEPS)


def pytest_collection_finish():
    # What mip_index runs of the device's code collects garbage again and again. What the tests
    # themselves are made of is none, and looking through it took a third of their time.
    gc.collect()
    gc.freeze()


class Progress:
    """Says now and then what the tests are at, where no one sees a terminal."""

    def __init__(self, config):
        self.config = config
        self.all = self.done = self.failed = 0
        self.said = time.monotonic()

    def pytest_collection_finish(self, session):
        self.all = self.all or len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.all = len(ids)

    def pytest_runtest_logreport(self, report):
        self.failed += report.failed
        self.done += report.when == "teardown"
        if time.monotonic() - self.said < PROGRESS:
            return
        self.said = time.monotonic()
        module = report.nodeid.partition("::")[0]
        line = f"{self.done:,} of {self.all:,} tests, {self.failed} failed; at {module}"
        self.config.pluginmanager.get_plugin("terminalreporter").write(f"\n{line}\n", flush=True)


class Places:
    """The directories of tests: those of the tests that passed are removed, at the end."""

    def __init__(self):
        self.places = {}  # test: its directory
        self.failed = set()  # tests

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        place = getattr(item, "funcargs", {}).get("tmp_path")
        if place:
            self.places[item.nodeid] = place
        if report.failed:
            self.failed.add(item.nodeid)

    def remove(self, base):
        """Remove what is in `base`; after a failure only the directories of what passed."""
        passed = [place for test, place in self.places.items() if test not in self.failed]
        for place in passed if self.failed else base.iterdir():
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def places(request, tmp_path_factory):
    """Removes at the end what the tests that passed have left."""
    places = Places()
    request.config.pluginmanager.register(places)
    yield
    request.config.pluginmanager.unregister(places)
    places.remove(tmp_path_factory.getbasetemp())


class Figures:
    """Collects the figures of all tests, and prints them when the tests are done."""

    def __init__(self):
        self.values = {}
        self.matrix = {}

    def pytest_runtest_logreport(self, report):
        # Every report of a test has all of its figures so far; the last one has all of them.
        if report.when == "teardown":
            for kind, figure in report.user_properties:
                name, value = figure
                if kind == FIGURE:
                    self.values.setdefault(name, []).append(value)
                elif kind == MATRIX:
                    self.matrix[name] = value

    def pytest_terminal_summary(self, terminalreporter):
        if self.matrix:
            terminalreporter.section("releases of MicroPython")
        for line in table(self.matrix):
            terminalreporter.line(line)
        if self.values:
            terminalreporter.section("figures")
        for name, values in sorted(self.values.items()):
            terminalreporter.line(f"{name:<50} {total(values)}")


def table(matrix):
    """The lines of a table of rows: {name: [what it says that it is, {column: "ok" or why not}]}.

    Reasons are below the table, with numbers.
    """
    reasons = []
    lines = []
    for name, (says, row) in sorted(matrix.items()):
        if not lines:
            lines.append(f"{'':<12} {'':<20} " + " ".join(f"{column:<7}" for column in row))
        cells = []
        for outcome in row.values():
            if outcome != "ok" and outcome not in reasons:
                reasons.append(outcome)
            cells.append("ok" if outcome == "ok" else f"({reasons.index(outcome) + 1})")
        lines.append(f"{name:<12} {says:<20} " + " ".join(f"{text:<7}" for text in cells))
    return lines + [f"({number}) {reason}" for number, reason in enumerate(reasons, 1)]


def total(values):
    """What stands for all values of a figure: the sum of numbers, else the list of them."""
    if all(isinstance(value, (int, float)) for value in values):
        return f"{sum(values):,}"
    return ", ".join(sorted({str(value) for value in values}))


@pytest.fixture
def figures(request):
    """A function figures(name, value) that has a figure printed at the end of the test run.

    Values given under one name, also by different tests, are added up when they are numbers,
    and listed otherwise.
    """

    def figures(name, value):
        request.node.user_properties.append((FIGURE, [name, value]))

    return figures


@pytest.fixture
def matrix(request):
    """A function matrix(name, [says, row]) that has a row of the matrix printed at the end.

    name: the release. says: what it says that it is. row: {column: "ok" or why not}.
    """

    def matrix(name, row):
        request.node.user_properties.append((MATRIX, [name, row]))

    return matrix


@pytest.fixture(scope="session")
def compiled_path(tmp_path_factory):
    """The directory that contains mip, compiled as for boards."""
    directory = tmp_path_factory.mktemp("compiled")
    size.compile_modules(directory, without=left_out.without())
    return directory


@pytest.fixture(scope="session")
def manifestfile():
    """The tools/manifestfile.py of MicroPython, a copy of which comes with micropython-stubber."""
    return size.manifestfile()


@pytest.fixture(scope="session")
def module_path(request):
    """The directory that contains the mip under test, compiled or, with --source, as it is."""
    if request.config.getoption("--source"):
        return ROOT
    return request.getfixturevalue("compiled_path")


@pytest.fixture
def device(tmp_path, module_path, authority):
    """A board without files, with the mip under test. See device.Device.

    Its command line trusts the servers with a certificate from `authority`.
    """
    return Device(tmp_path / "device", module_path, interpreter(), cafile=authority.pem)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority: `pem` and `der` are the paths of its certificate.

    `ca` is the trustme.CA; `context` is the ssl.SSLContext of a server with a certificate from it,
    for HOSTS.
    """
    directory = tmp_path_factory.mktemp("authority")
    authority = trustme.CA()
    pem, der = directory / "ca.pem", directory / "ca.der"
    authority.cert_pem.write_to_path(pem)
    der.write_bytes(ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    return SimpleNamespace(ca=authority, pem=pem, der=der, context=context)


@pytest.fixture
def server(tmp_path):
    """A running HTTP server for the files that the test puts into its `root`."""
    root = tmp_path / "site"
    root.mkdir()
    with mip_server.Server(root) as server:
        yield server


@pytest.fixture
def secure_server(tmp_path, authority):
    """As `server`, with TLS and a certificate from `authority`."""
    root = tmp_path / "secure-site"
    root.mkdir()
    with mip_server.Server(root, tls=authority.context) as server:
        yield server


@pytest.fixture(scope="session")
def index(tmp_path_factory):
    """The directory of an index of the packages in tests/packages."""
    output = tmp_path_factory.mktemp("index")
    mip_index.build(PACKAGES, output)
    return output


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """The servers of the internet, for all tests of a module."""
    with running_servers(tmp_path_factory.mktemp("nothing")) as servers:
        yield servers


@pytest.fixture
def net(tmp_path, device, servers):
    """An internet without content; the board is connected."""
    net = Internet(tmp_path / "internet", *servers)
    device.hosts = dict(net.hosts)
    device.cafile = net.cafile
    return net
