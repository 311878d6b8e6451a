"""Greets whoever is named by the path."""
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from greetings import greet


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = greet(self.path.strip("/") or "world").encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
