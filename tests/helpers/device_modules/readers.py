"""Reads a package.json by mip, and by MicroPython's own json, in one form that compares.

Both return {key: (whether its value is a list, [repr of each element])}, or None for what is
refused. Runs on MicroPython.
"""

import io
import json

import mip

WANTED = ("v", "version", "hashes", "urls", "deps")


def by_json(text):
    """What json says of a document."""
    try:
        document = json.load(io.BytesIO(text))
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    found = {}
    for key in WANTED:
        if key in document:
            value = document[key]
            listed = isinstance(value, list)
            values = value if listed else [value]
            if values:
                found[key] = listed, [repr(value) for value in values]
    return found


def by_mip(text, size):
    """What mip's reader says, with a buffer of that size; another exception as text."""
    found = {}
    try:
        for listed, key, value in mip._entries(io.BytesIO(text), bytearray(size), WANTED):
            if not listed or key not in found:
                found[key] = listed, []
            found[key][1].append(repr(value))
    except ValueError:
        return None
    except Exception as error:
        return repr(error)
    return found
