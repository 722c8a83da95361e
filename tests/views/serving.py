"""Something that answers on a port, for what the command line does when it is not what it expects."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import Factory, define

from trace_agent.core.settings import Address


@define
class Seen:
    """A scripted HTTP server and what it was asked.

    Attributes:
        requests: method, path, headers and body of each.
    """

    address: Address
    requests: list[tuple[str, str, dict[str, str], bytes]] = Factory(list)


@contextmanager
def answering(answers: Mapping[str, tuple[int, object]]) -> Iterator[Seen]:
    """Serve each path with a status and a JSON value, or with bytes as they are; 404 for any other."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.requests.append((self.command, self.path, dict(self.headers), body))
            status, value = answers.get(self.path, (404, {"error": {"code": "x", "message": "not here"}}))
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:  # noqa: ANN401 - as in http.server
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen = Seen(Address("127.0.0.1", server.server_port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()
