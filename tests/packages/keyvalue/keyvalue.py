"""Settings in a file that people edit.

    # a comment
    name = kitchen
    [wifi]
    ssid = "My Net"
    retries = 3

reads as {"name": "kitchen", "wifi.ssid": "My Net", "wifi.retries": 3}.
"""

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def value(text):
    """Return what a value means: text in quotes, a bool, an int, a float, or the text as it is."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse(lines):
    """Return a dict of all settings in `lines`, an open file or a list of strings.

    Raises ValueError, with the number of the line, for one that is neither a setting nor a
    [section], a comment or empty.
    """
    settings = {}
    section = ""
    number = 0
    for line in lines:
        number += 1
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip() + "."
            continue
        equals = line.find("=")
        if equals < 1:
            raise ValueError(f"line {number}: not a setting: {line}")
        settings[section + line[:equals].strip()] = value(line[equals + 1 :].strip())
    return settings


def load(path):
    """Return a dict of all settings in the file at `path`; see parse()."""
    with open(path) as file:
        return parse(file)


def dump(settings, file):
    """Write a dict such as parse() returns into an open file; settings of no section go first."""
    section = ""
    for key in sorted(settings, key=lambda key: ("." in key, key)):
        dot = key.find(".")
        if key[: dot + 1] != section:
            section = key[: dot + 1]
            file.write(f"[{section[:-1]}]\n")
        setting = settings[key]
        if isinstance(setting, str) and value(setting) != setting:
            setting = f'"{setting}"'
        file.write(f"{key[dot + 1 :]} = {setting}\n")
