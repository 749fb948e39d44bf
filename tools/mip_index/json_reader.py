"""JSON as MicroPython's `json` reads it, which is more than JSON.

Commas and colons are white space to it, so trailing ones and missing ones are nothing; strings
may hold line ends; a bracket of either kind closes what is open.  Published files rely on that.
"""

import re
from typing import Any

_TOKEN = re.compile(
    r"""
    (?P<space>   [ \t\r\n,:]+ )
  | "(?P<string> (?: [^"\\\0] | \\[^\0] )* )"
  | (?P<number>  [-0-9] [-+.eE0-9]* )
  | (?P<word>    null | true | false )
  | (?P<open>    [\[{] )
  | (?P<close>   [\]}] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"null": None, "true": True, "false": False}
# What may follow the document.
_SPACE = " \t\n\v\f\r"


class NotJSON(ValueError):
    """What MicroPython refuses; `place` is the character that it is at."""

    def __init__(self, place: int, reason: str = "not JSON") -> None:
        super().__init__(reason)
        self.place = place


def loads(data: bytes | bytearray) -> Any:
    """Return the value of a JSON document in UTF-8.

    Raises NotJSON for what MicroPython refuses, and for `\\u` that is not followed by four
    hexadecimal digits, of which it makes something; UnicodeDecodeError for what is not UTF-8.
    """
    text = data.decode()
    opened: list[tuple[str, list[Any]]] = []  # brackets, and what is in each so far
    place = 0
    while token := _TOKEN.match(text, place):
        place = token.end()
        if token.lastgroup == "space":
            continue
        if token.lastgroup == "open":
            opened.append((token[0], []))
            continue
        closes = token.lastgroup == "close" and opened
        try:
            value = _closed(*opened.pop()) if closes else _value(token)
        except ValueError as error:
            raise NotJSON(token.start(), str(error)) from error
        if opened:
            opened[-1][1].append(value)
        elif text[place:].strip(_SPACE):
            break
        else:
            return value
    raise NotJSON(place)


def _closed(bracket: str, values: list[Any]) -> Any:
    """Return a list or an object with these values; in an object every other one is a key."""
    if bracket == "[":
        return values
    if any(isinstance(key, (list, dict)) for key in values[::2]):
        raise ValueError("a key that is none")
    return dict(zip(values[::2], values[1::2], strict=False))


def _value(token: re.Match[str]) -> Any:
    """Return the value that a token stands for."""
    kind = token.lastgroup or ""
    text = token[kind]
    if kind == "word":
        return _WORDS[text]
    if kind == "number":
        # To MicroPython a number without digits is 0, if it has a point or an exponent.
        if set(text) & set(".eE"):
            return float(re.sub(r"^-\.?(?=[eE]|$)", "-0", text))
        return int(text)
    if kind != "string":
        raise ValueError("a bracket that closes nothing")
    return _ESCAPE.sub(_unescape, text)


def _unescape(escape: re.Match[str]) -> str:
    """Return the character that an escape in a string stands for."""
    digits, letter = escape.groups()
    if digits:
        return chr(int(digits, 16))
    if letter == "u":
        raise ValueError("bad escape")
    return _ESCAPES.get(letter, letter)
