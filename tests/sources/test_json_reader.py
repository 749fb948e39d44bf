"""mip reads package.json as it streams, and takes what MicroPython's own json takes.

The reader, mip._entries, is compared with json.load in the same interpreter: what both make of
a document has to be the same, whatever the size of the buffer.
"""

import json
import re

import pytest
from device import Device, interpreter
from folders import CORPUS
from hypothesis import given, settings
from hypothesis import strategies as st

# json itself is what it is compared with; test_releases.py has what is refused on other releases.
pytestmark = pytest.mark.needs("json")


BUFFERS = (1, 2, 7, 512)

# Compares reader and json. A line of the input is a document in hex and the sizes of the buffer
# to read it with. A line of the output is "taken" (the same entries), "refused" (by both), or
# how they differ.
COMPARE = """
import binascii, sys
from readers import by_json, by_mip

for line in sys.stdin:
    text, *sizes = line.split(" ")
    text = binascii.unhexlify(text)
    expected = by_json(text)
    outcome = "refused" if expected is None else "taken"
    for size in sizes:
        got = by_mip(text, int(size))
        if got != expected:
            outcome = "with a buffer of %s: %s, json: %s" % (size.strip(), got, expected)
            break
    print(outcome.replace("\\n", " "))
"""

# Reads a document that is made while it is read, and prints the most heap that was in use.
PEAK = """
import gc, mip, sys

class Document:
    def __init__(self, entries):
        self.entries = entries
        self.number = self.peak = 0

    def readinto(self, buf):
        self.measure()
        if self.number > self.entries + 1:
            return 0
        if not self.number:
            text = '{"version": "1", "urls": ['
        elif self.number > self.entries:
            text = "]}"
        else:
            name = "package/module%04d.py" % self.number
            text = '["%s", "%s"],' % (name, name)
        self.number += 1
        buf[: len(text)] = text.encode()
        return len(text)

    def measure(self):
        gc.collect()
        self.peak = max(self.peak, gc.mem_alloc())

def peak(entries):
    document = Document(entries)
    count = 0
    for listed, key, value in mip._entries(document, bytearray(512), ("version", "urls")):
        document.measure()
        count += 1
    assert count == entries + 1, count
    return document.peak

peak(10)  # what is made once, by the first of all reads
few = peak(10)
print(few, peak(1000))
"""

# Reads a document without end, and prints how that ended.
ENDLESS = """
import mip, sys

class Endless:
    def __init__(self, start, more):
        self.text = start
        self.more = more * (512 // len(more))

    def readinto(self, buf):
        n = min(len(buf), len(self.text))
        buf[:n] = self.text[:n]
        self.text = self.more
        return n

start, more = [word.encode() for word in sys.argv[1:]]
try:
    for entry in mip._entries(Endless(start, more), bytearray(512), ("urls",)):
        pass
except ValueError:
    print("refused")
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory, module_path):
    """A function that compares mip's reader with json for a list of documents (bytes or str).

    Returns one line for each: "taken", "refused", or how they differ. One interpreter does it
    for all tests.
    """
    device = Device(tmp_path_factory.mktemp("reader") / "device", module_path, interpreter())
    process = device.start(COMPARE, heap="16m", encoding="utf-8")

    def read(documents, sizes=BUFFERS):
        outcomes = []
        for text in documents:
            text = text if isinstance(text, bytes) else text.encode()
            print(text.hex(), *sizes, file=process.stdin, flush=True)
            outcomes.append(process.stdout.readline().rstrip("\n"))
        return outcomes

    with process:
        yield read
        process.stdin.close()


def table(read, documents):
    """What became of each document in a dict of them, by name."""
    return dict(zip(documents, read(documents.values()), strict=True))


# Documents that json takes: name -> text.
TAKEN = {
    "empty object": "{}",
    "white space around": " \t\r\n{ } \r\n\t ",
    "white space that only json knows behind": "{} \x0b\x0c",
    "commas in front": ',:{"v": 1}',
    "a package of an index": '{"v": 1, "version": "0.2", "hashes": [["a.mpy", "e39dbf64"]]}',
    "urls and deps": '{"urls": [["a.py", "b.py"], ["c", "d"]], "deps": [["x", "latest"]]}',
    "no white space": '{"v":1,"urls":[["a","b"],["c","d"]],"deps":[]}',
    "white space everywhere": ' { "v" : 1 , "urls" : [ [ "a" , "b" ] , [ "c" , "d" ] ] } ',
    "lines end in CR LF": '{\r\n"v": 1,\r\n"urls": [\r\n["a", "b"]\r\n]\r\n}\r\n',
    "empty lists": '{"urls": [], "deps": [ ], "hashes": [,]}',
    "empty lists in a list": '{"urls": [[], []]}',
    "empty objects": '{"urls": [{}, {}], "deps": {}}',
    "empty strings": '{"version": "", "urls": [["", ""], ""]}',
    "empty key": '{"": 1, "v": 1}',
    "elements that are no lists": '{"deps": ["a", "b@1", 3, null, {"c": "d"}, ["e"]]}',
    "three elements": '{"urls": [["a", "b", "c"]], "deps": [["a", "b", ["c"]]]}',
    "true, false, null": '{"v": true, "version": null, "deps": [true, false, null]}',
    "literals end at a bracket": '{"deps": [true], "urls": [null], "v": false}',
    "integers": '{"deps": [0, -0, 1, -1, 01, 123456789012345678901234567890]}',
    "floats": '{"deps": [1.5, -1.5, 1., 1e5, 1E5, 1e+5, 1e-5, 0.1e1]}',
    "a number for a version": '{"version": 1.5, "v": 1}',
    "numbers end at a bracket": '{"deps": [1], "urls": [[2]], "v": 3}',
    "a number starts behind a string": '{"v"1"version""2""deps"[3]}',
    "one-letter escapes": r'{"version": "\" \\ \/ \b \f \n \r \t"}',
    "escapes of other letters": r'{"version": "\q\z\0\'"}',
    "a backslash at the end of a string": r'{"urls": [["a\\", "b\\\\"], ["\\"]]}',
    "a quote at the end of a string": r'{"urls": [["a\"", "\""], ["\\\""]]}',
    "escape u": r'{"version": "\u0041\u00e9\u20ac"}',
    "escape u, letters in either case": r'{"version": "\u00E9\u00e9\u00aB"}',
    "escape u, surrogates": r'{"version": "\ud83d\ude00 \ud83d \ude00"}',
    "escape u, no digits": r'{"version": "\uZZZZ"}',
    "escapes in a key": r'{"\u0076": 1, "ur\u006cs": [["a", "b"]]}',
    "UTF-8": '{"version": "é€\U0001f600", "é": 1, "urls": [["ü.py", "ü.py"]]}',
    "raw newline in a string": '{"version": "a\nb", "urls": [["a\r\nb", "c"]]}',
    "other control characters in a string": '{"version": "a\tb\x01\x1f\x7f"}',
    "brackets in strings": '{"version": "[{", "urls": [["]}", "}]"], "]"], "x]": "{", "v": 1}',
    "separators in strings": '{"version": ",:", "urls": [[",", ":"]], ",": ":", "v": 1}',
    "trailing commas": '{"urls": [["a", "b",], ["c", "d"],], "v": 1,}',
    "missing commas": '{"v": 1 "urls": [["a" "b"] ["c" "d"]] "deps": ["x"]}',
    "missing commas and white space": '{"v":1"urls":[["a""b"]["c""d"]"e"]"deps":["x"]}',
    "missing colons": '{"v" 1, "urls" [["a", "b"]]}',
    "commas for colons": '{"v", 1, "urls", [["a": "b"]]}',
    "too many commas": '{,"v",,1,,"urls":[,,["a",,"b"],,],,}',
    "brackets that do not match": '{"urls": [["a", "b"}, ["c"]}, "v": 1]',
    "nested values": '{"deps": [["a", ["b", {"c": [1, {"d": []}]}]]], "v": {"e": [{"f": 2}]}}',
    "deeply nested": '{"deps": [' + "[" * 16 + "1" + "]" * 16 + '], "v": 1}',
    "many brackets": '{"deps": [' + ('["a", ' + "[], " * 15 + "], ") * 50 + '], "v": 1}',
    "numbers and literals as keys": '{1: 2, true: 3, "v": 1, false: 4, -1.5: 5}',
    "null as a key": '{null: 2, "v": 1}',
    "unknown keys": '{"name": "x", "files": [["a", "b"]], "more": {"urls": [["c", "d"]]}, "v": 1}',
    "unknown key with a list": '{"a": [["b", "c"], "d", 1, null], "urls": [["e", "f"]]}',
    "unknown key with nested lists": '{"a": [[["urls"]], {"urls": ["x"]}], "urls": [["e", "f"]]}',
    "unknown key with a literal": '{"a": null, "b": -1.5, "c": true, "urls": [["e", "f"]]}',
    "unknown key with a long string": '{"readme": "' + "x" * 20000 + '", "v": 1}',
    "unknown key with a long list": '{"a": [' + '"x", ' * 5000 + '], "v": 1}',
    "unknown key with a long element": '{"a": [["' + "x" * 20000 + '"]], "urls": [["a", "b"]]}',
    "unknown key with a large object": '{"a": {' + '"x": ["y"], ' * 3000 + '}, "v": 1}',
    "unknown key, deeply nested": '{"a": ' + "[" * 5000 + "]" * 5000 + ', "v": 1}',
    "a wanted key as a value": '{"x": "urls", "y": "v", "v": 1, "deps": ["urls", "v"]}',
    "wanted keys in other case": '{"URLS": [["a", "b"]], "V": 2, "v": 1}',
    "a long entry": '{"urls": [["' + "a" * 200 + '", "' + "b" * 1500 + '"]]}',
    "many entries": '{"urls": [' + '["a", "b"], ' * 300 + "]}",
    "what wanted objects hold": '{"deps": {"a": "b", "c": ["d"]}, "urls": {"e": {"f": "g"}}}',
}

# Documents that json refuses, or that are no object: name -> text.
REFUSED = {
    "nothing": "",
    "white space": " \r\n",
    "commas": ",:,",
    "a list": "[]",
    "a list of entries": '[["a", "b"]]',
    "a string": '"urls"',
    "a number": "1",
    "null": "null",
    "HTML": "<!DOCTYPE html><html><body>Log in first: {}</body></html>",
    "an error as text": "404: Not Found",
    "object behind text": 'x {"v": 1}',
    "text behind": '{"v": 1} x',
    "an object behind": '{"v": 1} {"v": 1}',
    "a list behind": "{}[]",
    "a string behind": '{}"x"',
    "a number behind": "{}1",
    "a comma behind": "{},",
    "a colon behind": "{} :",
    "a bracket too many": '{"v": 1}}',
    "a square bracket too many": '{"urls": []]}',
    "no end": '{"v": 1',
    "no end of a list": '{"urls": [["a", "b"]}',
    "no end of a string": '{"version": "1}',
    "no start": '"v": 1}',
    "comment": '{"v": 1 /* one */}',
    "line comment": '{// one\n"v": 1}',
    "hash comment": '# package\n{"v": 1}',
    "single quotes": "{'v': 1}",
    "a bare key": "{v: 1}",
    "a bare value": '{"version": one}',
    "a bare element": '{"urls": [one]}',
    "a cut literal": '{"v": tru}',
    "Python's literals": '{"v": None, "deps": True}',
    "not a number": '{"v": NaN}',
    "a plus sign": '{"v": +1}',
    "no digit before the point": '{"v": .5}',
    "minus alone": '{"v": -}',
    "two numbers in one": '{"v": 1-2}',
    "no digits of the exponent": '{"v": 1e}',
    "hexadecimal": '{"v": 0x10}',
    "a stray backslash": '{"v": \\1}',
    "not UTF-8 in a value": b'{"version": "\xff"}',
    "not UTF-8 in an entry": b'{"urls": [["\xe9.py", "x"]]}',
    "not UTF-8 in a key": b'{"\xe9": 1}',
    "a cut UTF-8 sequence": b'{"version": "\xc3"}',
    "NUL between values": '{"v": \0 1}',
    "NUL in a string": '{"version": "a\0b"}',
    "a list as a key": '{["a"]: 1}',
    "an object as a key": '{{"a": 1}: 1}',
}

# Not an object, or not JSON, in a part that mip does not want.
UNWANTED_REFUSED = {
    "no end of an unknown list": '{"x": [1, 2, "v": 1}',
    "no end of an unknown string": '{"x": "a, "v": 1}',
    "an unknown object without end": '{"x": {"y": 1, "v": 1}',
}


@pytest.fixture(scope="module")
def outcomes(read):
    """What became of the documents of all tables, by table and name."""
    tables = {"taken": TAKEN, "refused": REFUSED, "unwanted": UNWANTED_REFUSED}
    return {name: table(read, documents) for name, documents in tables.items()}


@pytest.mark.parametrize("name", TAKEN)
def test_what_json_takes_gives_the_same_entries(outcomes, name):
    """A document that json takes gives the entries that json finds in it."""
    assert outcomes["taken"][name] == "taken"


@pytest.mark.parametrize("name", REFUSED)
def test_what_json_refuses_is_a_value_error(outcomes, name):
    """A document that json refuses, or that is no object, raises ValueError."""
    assert outcomes["refused"][name] == "refused"


@pytest.mark.parametrize("name", UNWANTED_REFUSED)
def test_a_broken_unknown_value_is_a_value_error(outcomes, name):
    """A bracket or quote that is missing in the value of an unknown key raises ValueError."""
    assert outcomes["unwanted"][name] == "refused"


def test_a_cut_document_is_a_value_error(read):
    """A document that is cut after any of its bytes raises ValueError."""
    text = (
        r'{"v": 1, "version": "0.2", "x": [{"y": "z\""}, 1], "hashes": [["a\\", "e39dbf64"],]'
        ' "urls": [["é", "b\n"]], "deps": [["c"], "d"], "more": {"e": null}, "f": -1.5e2}'
    ).encode()
    assert read([text]) == ["taken"]
    cuts = [text[:n] for n in range(len(text))]
    differ = [cut for cut, outcome in zip(cuts, read(cuts), strict=True) if outcome != "refused"]
    assert differ == []


def test_every_place_of_the_border_of_the_buffer(read):
    """A document gives the same entries wherever in it the buffer ends."""
    text = (
        r'{"v":12, "version":"\u00e9\\\"é", "x":["\\", {"y":true}], "urls":[["a\"","b"]["c"]] '
        '"deps": [null 1.5]}'
    )
    assert read([text], range(1, len(text.encode()) + 2)) == ["taken"]


def test_a_key_that_comes_twice_gives_both_values(device):
    """A key that comes twice gives its entries twice, the one that json keeps last."""
    code = """
import io, json, mip
text = b'{"v": 1, "urls": [["a", "b"]], "v": 2, "urls": ["c", "d"]}'
for entry in mip._entries(io.BytesIO(text), bytearray(512), ("v", "urls")):
    print(json.dumps(entry))
print(json.loads(text)["v"], json.loads(text)["urls"])
"""
    assert device.run(code, check=True).lines == [
        '[false, "v", 1]',
        '[true, "urls", ["a", "b"]]',
        '[false, "v", 2]',
        '[true, "urls", "c"]',
        '[true, "urls", "d"]',
        "2 ['c', 'd']",
    ]


def test_entries_come_in_the_order_of_the_document(device):
    """Entries come in the order in which they are written, and only those that are wanted."""
    code = """
import io, json, mip
text = b'{"b": [1, 2], "x": [3], "a": 4, "c": {"a": 5}, "e": []}'
for entry in mip._entries(io.BytesIO(text), bytearray(2), ("a", "b", "c", "e")):
    print(json.dumps(entry))
"""
    assert device.run(code, check=True).lines == [
        '[true, "b", 1]',
        '[true, "b", 2]',
        '[false, "a", 4]',
        '[false, "c", {"a": 5}]',
    ]


def test_an_entry_comes_before_the_rest_is_read(device):
    """An entry is handed out before the bytes behind it are read."""
    code = """
import mip
class Stream:
    def __init__(self):
        self.parts = [b'{"urls": [["a", "b"],', b' ["c", "d"]', b"]}"]
    def readinto(self, buf):
        if not self.parts:
            return 0
        part = self.parts.pop(0)
        buf[:len(part)] = part
        return len(part)
stream = Stream()
for entry in mip._entries(stream, bytearray(512), ("urls",)):
    print(entry[2], len(stream.parts))
"""
    assert device.run(code, check=True).lines == ["['a', 'b'] 2", "['c', 'd'] 0"]


def test_reads_may_be_short(device):
    """A stream that gives fewer bytes than asked loses none, and stale bytes are not read."""
    code = """
import io, mip
class Short(io.IOBase):
    def __init__(self, text):
        self.text = text
        self.turn = 0
    def readinto(self, buf):
        self.turn += 1
        n = min(self.turn % 5 + 1, len(self.text))
        for i in range(len(buf)):
            buf[i] = 0x7D  # a closing bracket
        buf[:n] = self.text[:n]
        self.text = self.text[n:]
        return n
text = b'{"urls": [["abc", "def"], ["ghi", "jkl"]], "v": 1}'
for entry in mip._entries(Short(text), bytearray(64), ("urls", "v")):
    print(entry[2])
"""
    assert device.run(code, check=True).lines == ["['abc', 'def']", "['ghi', 'jkl']", "1"]


def test_a_network_error_stays_what_it_is(device):
    """An OSError of the stream leaves the reader as an OSError."""
    code = """
import mip
class Broken:
    def readinto(self, buf):
        raise OSError(104)
try:
    for entry in mip._entries(Broken(), bytearray(64), ("v",)):
        pass
except OSError as error:
    print("OSError", error.args[0])
"""
    assert device.run(code, check=True).lines == ["OSError 104"]


def test_the_error_says_roughly_where(device):
    """The text of the ValueError has the number of the byte at which reading stopped."""
    code = """
import io, mip
text = b'{"urls": [["a", "b"], ["c", nul], ["e", "f"]]}'
try:
    for entry in mip._entries(io.BytesIO(text), bytearray(8), ("urls",)):
        pass
except ValueError as error:
    print(error)
"""
    line = device.run(code, check=True).lines[-1]
    places = [int(number) for number in re.findall(r"\d+", line)]
    assert any(20 <= place <= 40 for place in places), line


@pytest.mark.parametrize(
    ("start", "more"),
    [
        pytest.param('{"urls": [', '["a", "b"],', id="entries"),
        pytest.param('{"urls": ["', "x", id="an entry"),
        pytest.param('{"urls": [', "[", id="brackets"),
        pytest.param("{", " ", id="white space"),
        pytest.param('{"x": "', "x", id="an unknown string"),
        pytest.param('{"', "x", id="a key"),
    ],
)
def test_a_document_without_end_is_refused(device, start, more):
    """A document without end raises ValueError, in a heap that could not hold it."""
    assert device.run(ENDLESS, start, more, heap="96k", check=True).lines == ["refused"]


def test_the_heap_does_not_grow_with_the_document(device):
    """Reading 1,000 entries takes the heap that reading 10 takes."""
    few, many = map(int, device.run(PEAK, heap="256k", check=True).out.split())
    # A word on the stack that looks like a pointer may keep an entry alive; 1,000 are 90 KB.
    assert many <= few + 512


def test_published_files_give_what_json_gives(read):
    """Every package.json that authors published gives what MicroPython's json gives."""
    files = sorted(CORPUS.rglob("*.json"))
    assert len(files) > 100
    outcomes = read([file.read_bytes() for file in files], (7, 512))
    differ = {
        str(file.relative_to(CORPUS)): outcome
        for file, outcome in zip(files, outcomes, strict=True)
        if outcome not in ("taken", "refused")
    }
    assert differ == {}
    assert outcomes.count("taken") > 100


# Texts between two tokens; all of them mean nothing to json.
_DELIMITERS = ' ,:\r\n\t[]{}"'
_gaps = st.sampled_from([" ", ", ", ",", ": ", ":", "\n", "\r\n\t", ",,", ""])
_strings = st.one_of(
    st.sampled_from(["", "a", "lib/a.py", "github:o/r/a.py", "urls", "v"]).map(json.dumps),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8).map(
        lambda text: json.dumps(text, ensure_ascii=len(text) % 2 == 0)
    ),
    st.text('ab\n\t{}[],:u0"', max_size=6).map(lambda text: '"' + text.replace('"', '\\"') + '"'),
)
_numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["0", "-0", "01", "1.5", "-1e5", "1.", "2E+3", "-", "1e", "1.2.3", "--1"]),
)
_scalars = st.one_of(
    _strings, _strings, _numbers, st.sampled_from(["true", "false", "null", "nul", "x"])
)


@st.composite
def _joined(draw, tokens, opening, closing):
    """The tokens between brackets, with gaps between them."""
    text = opening
    for token in [*tokens, closing]:
        text += draw(_gaps)
        # Two literals with nothing between them would be another one.
        if text[-1] not in _DELIMITERS and token[0] not in _DELIMITERS:
            text += " "
        text += token
    return text


def _nested(values):
    lists = st.lists(values, max_size=4).flatmap(lambda items: _joined(items, "[", "]"))
    members = st.lists(st.tuples(_strings, values), max_size=3)
    objects = members.flatmap(
        lambda items: _joined([token for item in items for token in item], "{", "}")
    )
    return st.one_of(lists, objects)


_values = st.recursive(_scalars, _nested, max_leaves=8)
_good_scalars = st.one_of(_strings, st.sampled_from(["0", "-12", "1.5", "true", "false", "null"]))
_good_values = st.recursive(_good_scalars, _nested, max_leaves=8)
_WANTED_KEYS = ['"v"', '"version"', '"hashes"', '"urls"', '"deps"']
_unwanted = st.sampled_from(['"x"', '""', '"URLS"', '"a\\"b"', "1", "true"])


@st.composite
def _good_documents(draw, values=_good_values):
    """A JSON object, as far as the commas go as people write it."""
    members = []
    for key in draw(st.lists(st.sampled_from(_WANTED_KEYS), max_size=4, unique=True)):
        if draw(st.booleans()):
            members += [draw(_unwanted), draw(_good_values)]
        members += [key, draw(values)]
    return draw(_joined(members, "{", "}"))


@st.composite
def _documents(draw):
    """A text that is a JSON object, or was one before some of its bytes were changed."""
    text = draw(_good_documents(_values))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        text = text[:at] + draw(st.sampled_from(["", *',:[]{}"\\ 1ax'])) + text[at + cut :]
    return text


_SHORT_ESCAPE = re.compile(r'\\u[^"]{0,3}"')
_TOGETHER = re.compile(r"(true|false|null)[-0-9tfn]|[0-9.](true|false|null)")
_GOOD_LITERAL = re.compile(r"true|false|null|-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\[{]|[\]}]|[^\s,:"\[\]{}]+', re.DOTALL)


def _peculiar(text):
    """Whether json makes something of a document that mip need not make of it.

    That is: a key without a value, which json carries over into the object around; two literals
    with nothing between them (`truefalse`); the key null; a key of mip's that comes twice; a
    wrong literal in the value of an unknown key, which mip passes over; and an escape u that
    ends too early, for which json takes the quote and what is behind it.
    """
    if _SHORT_ESCAPE.search(text):
        return True
    stack = []  # for each open bracket: [which one, how many values are in it]
    keys = []  # those of the document
    for token in _TOKEN.findall(text):
        known = keys and keys[-1] in _WANTED_KEYS
        if token[0] not in '"[]{}' and not known and not _GOOD_LITERAL.fullmatch(token):
            return True
        if (
            re.search("[a-z][-0-9]|[0-9][a-df-z]|(true|false|null)[a-z]", token)
            and token[0] != '"'
        ):
            return True
        if token in "]}":
            if stack and stack[-1][0] == "{" and stack[-1][1] % 2:
                return True
            stack = stack[:-1]
            continue
        if len(stack) == 1 and stack[0][1] % 2 == 0:
            keys.append(token)
        if stack:
            stack[-1][1] += 1
        if token in "[{":
            stack.append([token, 0])
    return "null" in keys or any(keys.count(key) > 1 for key in _WANTED_KEYS)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(_documents().filter(lambda text: not _peculiar(text)))
def test_any_document_gives_what_json_gives(read, text):
    """Whatever the document: mip reads the entries that json finds in it, or both refuse it."""
    assert read([text], (1, 7, 512))[0] in ("taken", "refused")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(_good_documents())
def test_any_well_formed_document_is_taken(read, text):
    """Whatever a well-formed document holds, mip reads the entries that json finds in it."""
    assert read([text], (1, 2, 512)) == ["taken"]
