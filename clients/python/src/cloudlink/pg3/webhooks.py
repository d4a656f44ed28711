"""WEBHOOK: requests of web services, brought to the plugin's handler one at a time."""

from __future__ import annotations

import json
import threading
from typing import Any

from ..inbound import Request, Response
from .topics import Topics

#: The server gives up after 30 s.
_PATIENCE = 25.0


class Webhooks:
    def __init__(self, topics: Topics, topic: int) -> None:
        self._topics = topics
        self._topic = topic
        self._one = threading.Lock()
        self._answered = threading.Condition()
        self._response: Response | None = None

    def answer(self, request: Request) -> Response:
        if not self._topics.has_subscriber(self._topic):
            return Response(501, {}, "The plugin takes no requests.")
        if not self._one.acquire(timeout=_PATIENCE):
            return Response(503, {}, "The plugin is busy.")
        try:
            self._response = None
            shown = {
                "method": request.method,
                "headers": dict(request.headers),
                "query": dict(request.query),
                "body": request.body.decode("utf-8", "replace"),
            }
            self._topics.publish(self._topic, shown)
            self._topics.forget(self._topic)
            with self._answered:
                self._answered.wait_for(lambda: self._response is not None, _PATIENCE)
                return self._response or Response(504, {}, "The plugin did not answer.")
        finally:
            self._one.release()

    def respond(self, body: Any, status: int) -> None:
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        with self._answered:
            self._response = Response(status, {}, text)
            self._answered.notify_all()
