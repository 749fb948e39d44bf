"""Requests are sent ahead on one connection, and what is not answered is asked for again."""

import json

import pytest

# Installs a package of files whose contents are their names, from a server that does as `how`
# says, and prints a line of JSON: how it ended, whether all files are right, the requests, the
# connections, and how many files had been asked for whenever a file was begun.
AHEAD = """
import json, os, sys
import fake_socket as net
import mip

how, number = sys.argv[1], int(sys.argv[2])
names = ["f%d.py" % n for n in range(number)]
HOSTS = ("one", "two") if how == "two hosts" else ("one",)
URLS = ["http://%s/%s" % (HOSTS[n % len(HOSTS)], names[n]) for n in range(number)]
if how == "one URL twice":
    URLS[3] = URLS[2]
answered = {}
served = 0


def serve(host, path):
    global served
    name = path[1:]
    answered[name] = answered.get(name, 0) + 1
    if path == "/p/package.json":
        return net.frame(json.dumps({"urls": list(zip(names, URLS))}).encode(), "length")
    body = name.encode() * 50
    first = answered[name] == 1
    served += 1
    if how == "closes" and served % 5 == 0:
        return net.frame(body, "length", keep=False)
    if how == "closes unsaid" and served % 5 == 0:
        answer = net.frame(body, "length")
        answer.end = True
        return answer
    if how == "cuts" and served % 5 == 0:
        answer = net.frame(body, "length")
        return net.Answer(answer.data[:-9], True)
    if how == "speaks 1.0":
        return net.frame(body, "close")
    if how == "chunks":
        return net.frame(body, "chunked")
    if how == "answers one twice" and name == "f7.py":
        answer = net.frame(body, "length")
        answer.data += answer.data
        return answer
    if how == "answers one twice" and name == names[-1]:
        late.append(net.frame(body, "length").data)
        return net.Answer(b"")
    if name == "f7.py":
        if how == "misses one":
            return net.frame(b"nothing here", "length", status=b"404 Not Found")
        if how == "misses one, large page":
            return net.frame(b"nothing" * 999, "length", status=b"404 Not Found")
        if how == "is busy" and first:
            return net.frame(b"", "length", status=b"503 Busy", headers=b"Retry-After: 1\\r\\n")
        if how == "redirects":
            line = b"Location: /moved/f7.py\\r\\n"
            return net.frame(b"moved", "length", status=b"302 Found", headers=line)
    if name == "moved/f7.py":
        return net.frame(b"f7.py" * 50, "length")
    return net.frame(body, "length")


def say(*words):
    if words[0] == "Copying:":
        begun.append(sum(answered.values()) - 1)


late = []  # what the server sends a little later
waited = mip._wait


def wait(seconds, poll=None):
    while late and not poll:
        session.links[0].sock.data += late.pop()
    return waited(seconds, poll)


begun = []
mip.print = say
mip._wait = wait
net.serve = serve
session = mip.Session()
try:
    mip.install("http://one/p/package.json", target="lib", session=session)
    outcome = "done"
except mip.InstallError as e:
    outcome = str(e)
right = 0
for n, name in enumerate(names):
    try:
        with open("lib/" + name) as file:
            right += file.read() == URLS[n].split("/")[-1] * 50
    except OSError:
        pass
session.close()
print(json.dumps([outcome, right, answered, net.connections, begun, net.opened]))
"""


def install(device, how, number=20):
    """Run AHEAD; what it prints."""
    return json.loads(device.run(AHEAD, how, number, check=True).lines[-1])


def test_requests_are_sent_ahead(device):
    """While one file is read, the next six have been asked for; each is asked for once."""
    outcome, right, answered, connections, begun, opened = install(device, "all is well")
    assert (outcome, right, connections, opened) == ("done", 20, 1, 0)
    assert set(answered.values()) == {1}
    # What is sent is sent before the line of a file is printed: the file itself and six more,
    # until there are no more.
    assert begun == [min(n + 7, 20) for n in range(20)]


# How the server is, the most requests for a file, and the most connections.
MANNERS = [
    ("closes", 3, 10),
    ("closes unsaid", 3, 10),
    ("cuts", 3, 10),
    ("speaks 1.0", 3, 24),
    ("chunks", 1, 1),
    ("is busy", 3, 3),
    ("redirects", 3, 4),
    ("two hosts", 1, 2),
    ("one URL twice", 2, 1),
]


@pytest.mark.parametrize(("how", "most", "connections"), MANNERS, ids=[m[0] for m in MANNERS])
def test_what_is_not_answered_is_asked_again(device, how, most, connections):
    """Each file gets its own bytes, whatever the server does with requests sent ahead."""
    outcome, right, answered, number, _, opened = install(device, how)
    assert (outcome, right, opened) == ("done", 20, 0)
    assert max(answered.values()) <= most
    assert number <= connections


@pytest.mark.parametrize("how", ["misses one", "misses one, large page"])
def test_a_file_that_is_missing_among_those_asked_for(device, how):
    """A file that is missing is named, and nothing is installed."""
    outcome, right, answered, number, _, opened = install(device, how)
    assert outcome.endswith("not found: http://one/f7.py")
    assert (right, opened) == (0, 0)
    assert max(answered.values()) <= 2
    assert number == (1 if how == "misses one" else 2)


# Installs with an error at the n-th call of the network, for each n.
SWEEP = """
import json, os, sys
import faults, fake_socket as net, mip

names = ["f%d.py" % n for n in range(9)]
net.serve = lambda host, path: net.frame(
    json.dumps({"urls": [[name, name] for name in names]}).encode()
    if path == "/package.json" else path.encode() * 50, sys.argv[1])
mip.print = lambda *words: None
wrong = []
count = 0
for fault in faults.strikes(error=OSError(104)):
    net.reset()
    net.fault = fault
    try:
        mip.install("http://one/", target="lib")
    except mip.InstallError as e:
        if "is the board online?" not in str(e):  # a name that has no address is not tried again
            wrong.append([fault.at, str(e)])
        continue
    net.fault = None
    for name in names:
        with open("lib/" + name) as file:
            if file.read() != ("/" + name) * 50:
                wrong.append([fault.at, name])
        os.remove("lib/" + name)
    if net.opened:
        wrong.append([fault.at, "open"])
    count += 1
print(json.dumps([count, wrong]))
"""


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_reset_at_any_call(device, framing, figures):
    """A reset at any call of the network costs one more try, and no file gets another's bytes."""
    count, wrong = json.loads(device.run(SWEEP, framing, check=True).lines[-1])
    figures("network: resets among requests sent ahead", count)
    assert wrong == []
    assert count > 50


def test_another_session_is_not_asked_ahead(device, server):
    """A session that is not mip's own is asked for one URL after the other."""
    for name in ("a.py", "b.py"):
        (server.root / name).write_text("x = 1\n")
    (server.root / "package.json").write_text('{"urls": [["a.py", "a.py"], ["b.py", "b.py"]]}')
    code = (
        "import mip, sys\n"
        "class Other:\n"
        "    def get(self, url):\n"
        "        return inner.get(url)\n"
        "inner = mip.Session()\n"
        "inner.send = lambda url: sent.append(url)\n"
        "sent = []\n"
        "mip.install(sys.argv[1], target='lib', session=Other())\n"
        "print(sent)\n"
    )
    result = device.run(code, server.url + "/", check=True)
    assert result.lines[-1] == "[]"
    assert sorted(device.tree()) == ["a.py", "b.py"]


def test_a_server_that_answers_once_too_often(device):
    """If each file has got the bytes of the one before, the answer that is left is waited for."""
    outcome, right, *_ = install(device, "answers one twice")
    assert outcome.endswith("http://one sends what nobody asked for")
    assert right == 0
