"""A Hub of one folder in memory: what the real client asks of the real one to make a repository and commit to it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from huggingface_hub import ModelCard


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


class HubStandIn(ThreadingHTTPServer):
    """Files of weights go as LFS objects with a hash that is checked, the others in the commit."""

    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.card_errors: list[dict[str, str]] = []
        self.refuse_commit: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub(token: str = "hf_right") -> Iterator[HubStandIn]:
    with HubStandIn(token) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubStandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("?")[0].removesuffix("/revision/main")
        if name not in self.server.repositories:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        found = self.server.repositories[name]
        self._answer(
            200, {"id": name, "private": found.private, "siblings": [], "tags": [], "downloads": 0, "likes": 0}
        )

    def do_PUT(self) -> None:
        content = self._body()
        key = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != key:
            self._answer(400, {"error": "hash differs"})
            return
        self.server.objects[key] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        content = self._body()
        self.server.requests.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self._create(json.loads(content))
        elif self.path == "/api/validate-yaml":
            self._validate(json.loads(content)["content"])
        elif "/preupload/" in self.path:
            asked = json.loads(content)["files"]
            modes = ["lfs" if file["path"].endswith((".safetensors", ".png")) else "regular" for file in asked]
            told = [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
                for file, mode in zip(asked, modes, strict=True)
            ]
            self._answer(200, {"files": told})
        elif self.path.endswith("/objects/batch"):
            self._batch(json.loads(content))
        elif "/commit/" in self.path:
            self._commit(content)
        else:
            self._answer(404, {"error": f"no such route {self.path}"})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        url = f"{self.server.url}/{name}"
        if name in self.server.repositories:
            self._answer(409, {"error": "You already created this model repo", "url": url})
            return
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.server.repositories[name] = Repository(private)
        self._answer(200, {"url": url, "name": name})

    def _validate(self, card: str) -> None:
        """What the Hub asks of a card: languages as ISO codes, whole evaluation results."""
        data = ModelCard(card).data
        wrong = [code for code in data.language if not (code.isalpha() and len(code) in (2, 3))]
        wrong += [result.dataset_name for result in data.eval_results or [] if not result.dataset_type]
        errors = [{"message": f"not valid: {what}"} for what in wrong] + self.server.card_errors
        self._answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}}
            for item in asked["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def _commit(self, content: bytes) -> None:
        if self.server.refuse_commit:
            self._answer(self.server.refuse_commit, {"error": "the metadata is not valid"})
            return
        name = "/".join(self.path.split("/")[3:5])
        repository = self.server.repositories[name]
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.server.objects[value["oid"]]
        repository.commits += 1
        oid = hashlib.sha1(content).hexdigest()
        self._answer(
            200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None}
        )

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...
