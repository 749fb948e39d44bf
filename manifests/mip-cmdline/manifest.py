# What require("mip-cmdline") finds once ../../manifest.py has been included: nothing more to
# freeze, because all of it is there already.
