"""Page, REST and metrics of one controller, served over HTTP by green threads; the same live and in a dry run."""

from __future__ import annotations

import secrets
import socket

import eventlet
import eventlet.greenio
import eventlet.wsgi

from controller.descriptions import Descriptions
from controller.feed import Feed, Readers
from controller.loop import Loop
from controller.news import News
from controller.rest import RestApplication
from controller.service import Service

SEND_TIMEOUT_S = 60.0  # a reader that takes nothing for so long is cut off; an idle connection, too


class Web:
    """`look` is to be called every `news.LOOK_S`; `serve` does not return."""

    def __init__(self, service: Service, loop: Loop, descriptions: Descriptions, *, token: str = "") -> None:
        feed = Feed(secrets.token_hex(4))
        self._news = News(feed, service, loop, descriptions)
        self.history = self._news.history
        readers = Readers(feed, self._news.snapshot, eventlet.sleep)
        self._application = RestApplication(descriptions, token=token, readers=readers)

    def look(self) -> None:
        self._news.look()

    def serve(self, listener: socket.socket) -> None:
        green = eventlet.greenio.GreenSocket(listener)
        eventlet.wsgi.server(
            green, self._application, log=_NoLog(), log_output=False, socket_timeout=SEND_TIMEOUT_S, debug=False
        )


class _NoLog:
    """eventlet's server wants a file for its access log."""

    def write(self, _line: str) -> None:
        """Nothing."""
