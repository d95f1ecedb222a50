"""A Hugging Face hub of a few small repositories, as far as huggingface_hub and datasets ask for it."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Iterator
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"

# "models/org/name" or "datasets/org/name" -> file name -> content
Repositories = dict[str, dict[str, bytes]]


def blob_id(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    repositories: Repositories = {}

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(send_body=True)

    def answer(self, send_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        status, headers, content = self.api(path[4:]) if path.startswith("api/") else self.file(path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(content)

    def missing(self, what: str) -> tuple[int, dict[str, str], bytes]:
        return 404, {"X-Error-Code": what}, b""

    def api(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.split("/")
        old_name = "/".join(parts[:2])  # models/bert-base-uncased, which has no organisation
        repository = old_name if old_name in self.repositories else "/".join(parts[:3])
        files = self.repositories.get(repository)
        if files is None:
            return self.missing("RepoNotFound")
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)} for name, content in files.items()
        ]
        action = path.removeprefix(repository).strip("/").split("/")[0]
        if action == "tree":
            result = entries
        elif action == "paths-info":
            wanted = json.loads(self.body)["paths"]
            result = [entry for entry in entries if entry["path"] in wanted]
        else:
            name = repository.split("/", 1)[1]
            siblings = [{"rfilename": entry["path"]} for entry in entries]
            result = {"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
        return 200, {"Content-Type": "application/json"}, json.dumps(result).encode()

    def file(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repository, _, rest = path.partition("/resolve/")
        if not repository.startswith("datasets/"):
            repository = f"models/{repository}"
        if repository not in self.repositories:
            return self.missing("RepoNotFound")
        content = self.repositories[repository].get(rest.partition("/")[2])
        if content is None:
            return self.missing("EntryNotFound")
        return 200, {"ETag": f'"{blob_id(content)}"'}, content

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(repositories: Repositories) -> Iterator[str]:
    handler = type("Hub", (Handler,), {"repositories": repositories})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
