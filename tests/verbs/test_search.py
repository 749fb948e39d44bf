"""search() reads index.json as it comes, and prints what matches."""

import json

import pytest

SEARCH = """
import json, sys
import mip

try:
    mip.search(sys.argv[1], index=json.loads(sys.argv[2]))
except mip.InstallError as e:
    print("InstallError", e)
"""

PACKAGES = [
    {"name": "aioble", "version": "0.6.1", "description": "Bluetooth, asynchronously", "x": [1]},
    {"name": "bme280", "version": "1.0", "author": "ble", "versions": {"6": ["1.0"], "py": []}},
    {"name": "umqtt.simple", "version": "1.7", "description": "MQTT client, not for BLE"},
    {"name": "bare"},
]


def put(server, packages, directory="pi"):
    """Publish an index.json; return the URL of the index."""
    place = server.root / directory
    place.mkdir()
    text = json.dumps({"v": 2, "updated": 1, "packages": packages})
    (place / "index.json").write_text(text)
    return f"{server.url}/{directory}"


def search(device, text, index, heap=None):
    """The lines that search() prints."""
    return device.run(SEARCH, text, json.dumps(index), heap=heap, check=True).lines


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "ble",
            [
                "aioble 0.6.1 Bluetooth, asynchronously",
                "umqtt.simple 1.7 MQTT client, not for BLE",
            ],
        ),
        ("BLUETOOTH", ["aioble 0.6.1 Bluetooth, asynchronously"]),
        ("bme", ["bme280 1.0"]),
        ("bare", ["bare"]),
        ("asynchronously aioble", ["aioble 0.6.1 Bluetooth, asynchronously"]),
        ("client simple", ["umqtt.simple 1.7 MQTT client, not for BLE"]),
        ("client aioble", ["nothing found for client aioble"]),
        ("1.7", ["nothing found for 1.7"]),
        ("none", ["nothing found for none"]),
    ],
)
def test_search(device, server, text, found):
    """What has the text in its name or description is printed, letter case aside; of
    several words all, in any order."""
    lines = search(device, text, put(server, PACKAGES))
    assert [line.rstrip() for line in lines] == found


def test_search_on_the_command_line(device, server):
    """`-m mip search` finds the same, in every index that is named; any number of words."""
    one, two = put(server, PACKAGES[:1], "one"), put(server, PACKAGES[2:], "two")
    result = device.mip("search", "--index", one, "--index", two, "ble", check=True)
    assert [line.split()[0] for line in result.lines] == ["aioble", "umqtt.simple"]
    result = device.mip("search", "-i", two, "not", "for", check=True)
    assert [line.split()[0] for line in result.lines] == ["umqtt.simple"]
    assert device.mip("search").status == 2


def test_search_in_a_directory(device, server):
    """A private index may be a directory."""
    put(server, PACKAGES)
    lines = search(device, "bluetooth", str(server.root / "pi"))
    assert [line.split()[0] for line in lines] == ["aioble"]


@pytest.mark.needs("heap")
def test_a_long_index_in_a_small_heap(device, server):
    """An index of 3,000 packages, 360 KB, is searched in a heap of 74 KB."""
    packages = [
        {"name": f"package{n}", "version": "1.0", "description": "d" * 60} for n in range(3000)
    ]
    index = put(server, packages)
    assert (server.root / "pi" / "index.json").stat().st_size > 300_000
    lines = search(device, "package2999", index, heap="74k")
    assert [line.split()[0] for line in lines] == ["package2999"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "not found"),
        (b"<html>log in</html>", "captive portal"),
        (b'{"packages": [1]}', "bad packages"),
        (b'{"packages": [{"name": "x"}', "not a package.json"),
    ],
)
def test_an_index_that_cannot_be_searched(device, server, data, said):
    """What is wrong with an index is said, with its URL."""
    index = put(server, [])
    if data is None:
        (server.root / "pi" / "index.json").unlink()
    else:
        (server.root / "pi" / "index.json").write_bytes(data)
    (line,) = search(device, "x", index)
    assert line.startswith("InstallError " + index + "/index.json: ")
    assert said in line


def test_an_index_without_a_list(device, server):
    """The others are searched; which one has no list is an error in the end."""
    one, two = put(server, [], "one"), put(server, PACKAGES, "two")
    (server.root / "one" / "index.json").unlink()
    lines = search(device, "bluetooth", [one, two])
    assert lines[0].startswith("aioble ")
    assert lines[1:] == [f"InstallError {one}/index.json: not found"]


@pytest.mark.parametrize(
    "large", [{"description": "d" * 5000}, {"x": json.loads("[" * 20 + "]" * 20)}]
)
def test_an_entry_that_is_too_large(device, server, large):
    """It is passed over, and what comes behind it is found."""
    lines = search(device, "aioble", put(server, [{"name": "aioble2", **large}, *PACKAGES]))
    assert [line.split()[0] for line in lines] == ["aioble"]
