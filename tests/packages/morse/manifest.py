# ruff: noqa: F821  (the names used here are given by the build)
metadata(
    version="1.1.0",
    description="Morse code, to say with one LED or a buzzer what is the matter.",
    license="MIT",
    author="the authors of mip",
)
package("morse", files=["__init__.py", "alphabet.json"])
