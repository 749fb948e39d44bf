# ruff: noqa: F821  (the names used here are given by the build)
metadata(
    version="0.4.0",
    description="Filters for noisy readings: averages, median, hysteresis, Kalman.",
    license="MIT",
    author="the authors of mip",
)
package("smooth")
