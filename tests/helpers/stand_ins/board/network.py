"""What a board with Wi-Fi has, and the Unix port has not: `network`, for the pages in docs/.

A board with this module is off line until it has joined a network. What it can reach then is
what the tests' `socket` can.
"""

import socket

STA_IF = 0

_getaddrinfo = socket.getaddrinfo


def _nothing(host, *args):
    raise OSError(-2)  # as lwIP says it, on most ports


class WLAN:
    """The interface of a station. Any network takes it, at once."""

    IF_STA = STA_IF

    def __init__(self, interface):
        if interface != STA_IF:
            raise ValueError(interface)
        self.disconnect()
        self._active = False

    def active(self, on):
        self._active = on

    def connect(self, name, password):
        if not self._active:
            raise OSError("the interface is not active")
        socket.getaddrinfo = _getaddrinfo

    def disconnect(self):
        socket.getaddrinfo = _nothing

    def isconnected(self):
        return socket.getaddrinfo is _getaddrinfo
