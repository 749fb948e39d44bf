"""Where things are in the repository."""

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
TESTS = HELPERS.parent
ROOT = TESTS.parent

BUILD = ROOT / "build"  # what may be left behind
CORPUS = TESTS / "corpus"  # package.json files that were published
PACKAGES = TESTS / "packages"  # packages for an index of the tests

# What programs import on a device.
DEVICE_MODULES = HELPERS / "device_modules"
# What takes the place of modules: `socket`, for any host on the internet; what firmware for boards
# has; and `machine`, which can reset a board.
HOSTS = HELPERS / "stand_ins" / "hosts"
BOARD = HELPERS / "stand_ins" / "board"
RESET = HELPERS / "stand_ins" / "reset"
