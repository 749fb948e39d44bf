"""Morse code as in Recommendation ITU-R M.1677-1, to blink or beep a message."""

import json
import sys


def _alphabet():
    """Return the dict of character -> code; it lies beside this module, wherever that is."""
    for directory in sys.path:
        try:
            with open((directory and directory + "/") + "morse/alphabet.json") as file:
                return json.load(file)
        except OSError:
            continue
    raise OSError("morse/alphabet.json is not beside the module in sys.path")


CODES = _alphabet()


def encode(text):
    """Return `text` as dots and dashes: a space between letters, a slash between words.

    Raises ValueError for a character that has no code.
    """
    words = []
    for word in text.upper().split():
        for character in word:
            if character not in CODES:
                raise ValueError(f"no Morse code for {character!r}")
        words.append(" ".join(CODES[character] for character in word))
    return " / ".join(words)


def decode(code):
    """Return the text of what encode() returned; `#` stands for an unknown code."""
    letters = {code: character for character, code in CODES.items()}
    words = code.split(" / ")
    return " ".join("".join(letters.get(mark, "#") for mark in word.split()) for word in words)


def timing(text, unit=100):
    """Yield (on, milliseconds) for each step of sending `text`; a dot is `unit` ms long."""
    for word in encode(text).split(" / "):
        for letter in word.split():
            for mark in letter:
                yield True, unit if mark == "." else 3 * unit
                yield False, unit
            # The pause after a letter is 3 units, one of which came after its last mark.
            yield False, 2 * unit
        # The pause after a word is 7 units, 3 of which came after its last letter.
        yield False, 4 * unit


def blink(text, set_led, sleep_ms, unit=100):
    """Send `text` with set_led(on), for instance a Pin's `value`, and time.sleep_ms."""
    for on, duration in timing(text, unit):
        set_led(on)
        sleep_ms(duration)
