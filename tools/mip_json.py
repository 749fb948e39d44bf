"""JSON as MicroPython's `json` reads it, which is more than JSON.

Commas and colons are white space to it, so trailing ones and missing ones are nothing; strings
may hold line ends; a bracket of either kind closes what is open.  Published files rely on that.
"""

import re

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


class _Open:
    """A list or an object that is not closed yet. duplicates: as for loads()."""

    def __init__(self, bracket, duplicates):
        self.value = [] if bracket == "[" else {}
        self._keys = []
        self._duplicates = duplicates

    def add(self, value):
        """Take the next value in it; in an object every other one is a key."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif not self._keys:
            hash(value)  # TypeError for a list or an object
            self._keys.append(value)
        else:
            key = self._keys.pop()
            if key in self.value:
                self._duplicates.append(key)
            self.value[key] = value


def loads(data, duplicates=None):
    """Return the value of a JSON document, bytes in UTF-8.

    duplicates: a list to which the keys are added that an object has twice; the last one counts.
    Raises ValueError, whose text says where, for what MicroPython refuses; and for `\\u` that is
    not followed by four hexadecimal digits, of which it makes something.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8") from None
    stack = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if not token:
            break
        start, place = token.span()
        if token.lastgroup == "space":
            continue
        try:
            if token.lastgroup == "close":
                done = stack.pop().value
            else:
                value = _value(token, [] if duplicates is None else duplicates)
                done = value.value if isinstance(value, _Open) else value
                if stack:
                    stack[-1].add(done)
                if isinstance(value, _Open):
                    stack.append(value)
        except (ValueError, TypeError, IndexError):
            place = start
            break
        if not stack:
            place += len(text[place:]) - len(text[place:].lstrip(_SPACE))
            if place == len(text):
                return done
            break
    raise ValueError(_where(text, place))


def _value(token, duplicates):
    """Return what a token stands for: a value, or an _Open for a bracket."""
    text = token[token.lastgroup]
    if token.lastgroup == "open":
        return _Open(text, duplicates)
    if token.lastgroup == "word":
        return _WORDS[text]
    if token.lastgroup == "number":
        return float(text) if set(text) & set(".eE") else int(text)
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_unescape, text)


def _unescape(escape):
    """Return the character that an escape in a string stands for."""
    digits, letter = escape.groups()
    if digits:
        return chr(int(digits, 16))
    if letter == "u":
        raise ValueError("bad escape")
    return _ESCAPES.get(letter, letter)


def _where(text, place):
    """Say what is wrong at a place of a text."""
    if text[:1] == "\ufeff":
        return "begins with a byte order mark"
    if text.lstrip()[:1] == "<":
        return "a web page, not JSON"
    line = text.count("\n", 0, place) + 1
    if place == len(text):
        return f"line {line}: ends before the document does"
    return f"line {line}: not JSON from {text[place : place + 20]!r} on"
