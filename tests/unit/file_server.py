"""This module is a real HTTP server on this machine, in a thread, that can do what servers do to downloads."""

import re
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """It serves `files`, {path: content}.

    The test sets what it does wrong; `asked` has the requested paths and ranges.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked = {}, []
        self.ranges = True  # whether a range is honoured
        self.etag = '"1"'
        self.modified = None
        self.cuts = []  # for each answer the bytes after which it is cut; None or no entry: it is whole
        self.broken = []  # for each request the status of the answer
        self.sized = True  # whether the answer has a Content-Length
        self.raw = {}  # {path: bytes that are sent in place of an answer, whatever they are}
        self.endless = {}  # {path: (what is sent first, what is sent then, again and again, seconds in between)}

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, requested_range = self.server, self.headers.get("Range")
        server.asked.append((self.path, requested_range))
        if self.path in server.raw or self.path in server.endless:
            return self._raw()
        status = server.broken.pop(0) if server.broken else 200 if self.path in server.files else 404
        if status != 200:
            return self.send_error(status)
        whole = server.files[self.path]
        start = int(re.fullmatch(r"bytes=(\d+)-", requested_range)[1]) if requested_range and server.ranges else 0
        if start >= len(whole) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(whole)}")
            return self.end_headers()
        self.send_response(206 if requested_range and server.ranges else 200)
        if requested_range and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if server.sized:
            self.send_header("Content-Length", str(len(whole) - start))
        for name, value in (("ETag", server.etag), ("Last-Modified", server.modified)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(whole[start:] if cut is None else whole[start : start + cut])
        self.close_connection = True
        return None

    def _raw(self):
        self.close_connection = True
        first, then, seconds = self.server.endless.get(self.path, (self.server.raw.get(self.path), b"", 0))
        self.wfile.write(first)
        with suppress(OSError):  # until the other side has enough
            while then:
                self.wfile.write(then)
                time.sleep(seconds)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
