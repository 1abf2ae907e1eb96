"""A client of a running controller's REST interface, for the commands `status`, `move` and `whatif`."""

from __future__ import annotations

import time
from typing import Any

import requests

from controller.records import Refused, UnknownName
from twin.errors import InputError, VnftwinError

FINAL = ("done", "rolled_back", "failed")


class Unreachable(VnftwinError):
    """No controller answers at the address."""


class ControllerClient:
    """Speaks to one controller. Raises Unreachable, UnknownName (404), Refused (409) or InputError (400)."""

    def __init__(self, url: str, *, token: str = "", timeout_s: float = 5.0) -> None:
        self.url, self._timeout_s = url.rstrip("/"), timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment must not see loopback requests
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, what: str) -> Any:
        return self._call("GET", f"/api/v1/{what}")

    def move(self, vnf: str, server: str, *, key: str | None = None) -> Any:
        body = {"vnf": vnf, "target": server} | ({"idempotency_key": key} if key else {})
        return self._call("POST", "/api/v1/migrations", body)

    def what_if(self, vnf: str, server: str) -> Any:
        return self._call("POST", "/api/v1/whatif", {"vnf": vnf, "target": server})

    def load_twin(self, file: str) -> Any:
        return self._call("POST", "/api/v1/twin", {"file": file})

    def set_mode(self, mode: str) -> Any:
        return self._call("PUT", "/api/v1/mode", {"mode": mode})

    def waiting_for(self) -> str:
        """Empty when the controller is ready, else what it waits for."""
        return str(self._call("GET", "/readyz", accept=(200, 503)).get("waiting_for", ""))

    def wait_migration(self, ident: str, *, timeout_s: float) -> Any:
        """The migration once it has ended; VnftwinError when that takes longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            record = self.get(f"migrations/{ident}")
            if record["status"] in FINAL:
                return record
            time.sleep(0.05)
        raise VnftwinError(f"migration {ident} did not end within {timeout_s:g} s")

    def _call(self, method: str, path: str, body: Any = None, accept: tuple[int, ...] = (200, 202)) -> Any:
        try:
            reply = self._session.request(method, self.url + path, json=body, timeout=self._timeout_s)
            answer = reply.json()
        except requests.RequestException as error:
            raise Unreachable(f"no controller answers at {self.url} ({type(error).__name__})") from None
        if reply.status_code in accept:
            return answer
        message = str(answer.get("error", reply.reason))
        if reply.status_code == 404:
            raise UnknownName(message)
        if reply.status_code == 409:
            raise Refused(str(answer.get("reason", message)), str(answer.get("detail", "")))
        raise InputError(message) if reply.status_code == 400 else VnftwinError(message)
