# ruff: noqa: F821  (the names used here are given by the build)
metadata(
    version="0.1.0",
    description="Sends smoothed readings as packets over a serial line.",
    license="MIT",
    author="the authors of mip",
)
require("frame")
require("smooth")
module("telemetry.py")
