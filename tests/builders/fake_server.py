"""A server as vLLM's that runs no model: the first part of a path says how it misbehaves. Prints its port."""

import json
import os
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN: Counter[str] = Counter()
LOCK = threading.Lock()
LIMIT = int(sys.argv[2]) if len(sys.argv) > 2 else 25
"""Requests after which `dying` ends the process."""


def answer(body: dict, *, listed: bool = True) -> dict:
    """Another one for other words and pictures, with most of the mass on yes and no."""
    content = body["messages"][0]["content"]
    weight = sum(map(ord, json.dumps(content))) % 97 / 100
    tokens = [{"token": " Yes", "logprob": -0.1 - weight}, {"token": "no", "logprob": -3.0 + weight}]
    tokens += [{"token": "yes", "logprob": -4.0}, {"token": "A", "logprob": -5.0}, {"token": "the", "logprob": -6.0}]
    choice = {"message": {"role": "assistant", "content": "Yes."}}
    if listed and body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": " Yes", "logprob": -0.1, "top_logprobs": tokens}]}
    return {"choices": [choice], "usage": {"prompt_tokens": 10 + 5 * len(content)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with LOCK:
            self.give(200, json.dumps(SEEN).encode())

    def do_POST(self) -> None:
        kind = self.path.split("/")[1]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            SEEN[kind] += 1
            SEEN[f"{kind} images"] += sum(part["type"] == "image_url" for part in body["messages"][0]["content"])
            SEEN[f"{kind} key"] += self.headers.get("Authorization") == "Bearer secret"
            turn = SEEN[kind]
        good = json.dumps(answer(body)).encode()
        if kind == "busy" and turn <= 2:
            self.give(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"})
        elif kind == "alwaysbusy":
            self.give(429, b"", {"Retry-After": "0"})
        elif kind == "flaky" and turn % 2:
            self.give(200, good[: len(good) // 2])
        elif kind == "invalid":
            self.give(200, [b"{", b"[1]", b'{"choices": []}', b"\xff", b"[" * 100_000, b"null"][turn % 6])
        elif kind == "wrong":
            odd = {"choices": [{"message": {"content": [turn]}}]}
            self.give(200, json.dumps(odd).encode())
        elif kind == "infinite":
            self.give(200, good.replace(b"-4.0", b"-Infinity"))
        elif kind == "huge":
            self.give(200, b'{"choices": "' + b"x" * (5 * 2**20) + b'"}')
        elif kind == "redirect":
            self.give(307, b"", {"Location": f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere/v1"})
        elif kind == "plain":
            self.give(200, json.dumps(answer(body, listed=False)).encode())
        elif kind == "unlisted":
            self.give(200, good.replace(b"Yes", b"maybe").replace(b'"no"', b'"so"').replace(b'"yes"', b'"perhaps"'))
        elif kind == "long":
            self.give(400, b'{"error": {"message": "This model\'s maximum context length is 10 tokens"}}')
        elif kind == "nosuch":
            self.give(404, b'{"error": {"message": "The model does not exist"}}')
        elif kind == "slow":
            time.sleep(30)
        elif kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(300):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        elif kind == "dying" and turn > LIMIT:
            os._exit(1)
        else:
            self.give(200, good)

    def give(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
