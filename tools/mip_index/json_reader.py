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


def loads(data: bytes | bytearray) -> Any:
    """Return the value of a JSON document in UTF-8.

    Raises ValueError for what MicroPython refuses; and for `\\u` that is not followed by four
    hexadecimal digits, of which it makes something.
    """
    text = data.decode()
    stack: list[_Open] = []
    place = 0
    while token := _TOKEN.match(text, place):
        place = token.end()
        if token.lastgroup == "space":
            continue
        if token.lastgroup == "close" and stack:
            done = stack.pop().value
        elif token.lastgroup == "open":
            opened = _Open(token["open"])
            if stack:
                stack[-1].add(opened.value)
            stack.append(opened)
        else:
            done = _value(token)
            if stack:
                stack[-1].add(done)
        if not stack and not text[place:].strip(_SPACE):
            return done
        if not stack:
            break
    raise ValueError("not JSON")


class _Open:
    """A list or an object that is not closed yet."""

    def __init__(self, bracket: str) -> None:
        self.value: Any = [] if bracket == "[" else {}
        self._keys: list[Any] = []

    def add(self, value: Any) -> None:
        """Take the next value in it; in an object every other one is a key."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif self._keys:
            self.value[self._keys.pop()] = value
        elif isinstance(value, (list, dict)):
            raise ValueError("a key that is none")
        else:
            self._keys.append(value)


def _value(token: re.Match[str]) -> Any:
    """Return the value that a token stands for."""
    kind = token.lastgroup or ""
    text = token[kind]
    if kind == "word":
        return _WORDS[text]
    if kind == "number":
        return float(text) if set(text) & set(".eE") else int(text)
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
