"""Sends smoothed readings as packets over a serial line.

A packet holds a channel number and a reading in thousandths of its unit, little-endian, in a
frame of the package `frame`.
"""

import struct

import frame
from smooth import Average

PACKET = "<Bi"


class Sender:
    """Smooths the readings of each channel, and sends them."""

    def __init__(self, write, size=4):
        """write: a function that takes bytes, such as UART.write. size: readings in a mean."""
        self._write = write
        self._size = size
        self._filters = {}

    def send(self, channel, reading):
        """Send the mean of the channel's last readings; channel is 0 to 255."""
        if channel not in self._filters:
            self._filters[channel] = Average(self._size)
        thousandths = round(self._filters[channel](reading) * 1000)
        self._write(frame.encode(struct.pack(PACKET, channel, thousandths)))


class Listener:
    """The other end: prints what it hears."""

    def __init__(self):
        self._receiver = frame.Receiver()

    def feed(self, data):
        """Take bytes from the line; print a line for each packet that is complete now."""
        for payload in self._receiver.feed(data):
            channel, thousandths = struct.unpack(PACKET, payload)
            print(f"channel {channel}: {thousandths / 1000:.3f}")


def loopback(readings, channel=1):
    """Send `readings` to ourselves and print what arrives: shows that it all works."""
    sender = Sender(Listener().feed)
    for reading in readings:
        sender.send(channel, reading)
