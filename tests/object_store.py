"""A server of the part of Google Cloud Storage's JSON API that gcsfs and TensorStore use here.

https://cloud.google.com/storage/docs/json_api/v1: whole objects with a generation each, conditions
on it, lists by prefix. No object is appended to, and there are no folders.
"""

import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
OBJECT = re.compile(rf"(?:/download)?/storage/v1/b/{BUCKET}/o/([^/]+)")
COPY = re.compile(rf"{OBJECT.pattern}/rewriteTo/b/{BUCKET}/o/([^/]+)")


class ObjectStore(ThreadingHTTPServer):
    """A server of one bucket, in memory; a context manager that runs it in a thread.

    Attributes:
      url: where it listens.
      objects: content and generation by name.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.parts: dict[str, bytes] = {}
        self.lock, self.generations = threading.Lock(), itertools.count(1)

    def handle_error(self, *_):
        """A client that has heard enough hangs up."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _handle(self):
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            status, headers, content = self._answer(url.path)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _handle

    def _answer(self, path):
        if path == f"/storage/v1/b/{BUCKET}":
            return _json({"name": BUCKET})
        if path == f"/storage/v1/b/{BUCKET}/o":
            return self._list()
        if path == f"/upload/storage/v1/b/{BUCKET}/o" and self.command == "POST":
            return self._upload()
        if match := COPY.fullmatch(path):
            source, target = map(unquote, match.groups())
            if source in self.server.objects:
                resource = self._put(target, self.server.objects[source][0])
                return _json({"done": True, "resource": resource})
        if match := OBJECT.fullmatch(path):
            return self._object(unquote(match[1]))
        return _json({"error": {"code": 404, "message": path}}, 404)

    def _list(self):
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter")
        start, end = self.query.get("startOffset", ""), self.query.get("endOffset")
        items, folders = [], set()
        for name in sorted(self.server.objects):
            if not name.startswith(prefix) or name < start or (end and name >= end):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            if found:
                folders.add(prefix + head + delimiter)
            else:
                items.append(self._resource(name))
        return _json({"items": items, "prefixes": sorted(folders)})

    def _upload(self):
        """A whole object at once, or in parts of which nothing is seen until the last is there."""
        kind, name, content = self.query["uploadType"], self.query.get("name"), self.body
        if kind == "multipart":
            boundary = re.search('boundary="?([^"]+)', self.headers["Content-Type"])[1].encode()
            _, about, content, _ = content.split(b"--" + boundary, 3)
            name = json.loads(about.split(b"\n\n", 1)[1])["name"]
            content = content.split(b"\n\n", 1)[1][:-1]
        elif kind == "resumable" and "upload_id" not in self.query:
            self.server.parts[name] = b""
            return 200, {"Location": f"{self.server.url}{self.path}&upload_id=0"}, b""
        elif kind == "resumable":
            content = self.server.parts[name] = self.server.parts[name] + content
            if self.headers["Content-Range"].endswith("/*"):
                return 308, {"Range": f"bytes=0-{len(content) - 1}"}, b""
        return self._unmet(name) or _json(self._put(name, content))

    def _object(self, name):
        if unmet := self._unmet(name):
            return unmet
        if name not in self.server.objects:
            return _json({"error": {"code": 404, "message": name}}, 404)
        if self.command == "DELETE":
            del self.server.objects[name]
            return 204, {}, b""
        if self.query.get("alt") != "media":
            return _json(self._resource(name))
        content, generation = self.server.objects[name]
        status, headers = 200, {"x-goog-generation": generation}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, total = int(match[1]), len(content)
            content = content[first : int(match[2]) + 1 if match[2] else None]
            if not content:
                return _json({}, 416)
            headers["Content-Range"] = f"bytes {first}-{first + len(content) - 1}/{total}"
            status = 206
        return status, headers, content

    def _unmet(self, name):
        """The answer if a condition on the generation, 0 for no object, is not met."""
        generation = str(self.server.objects.get(name, (b"", 0))[1])
        if self.query.get("ifGenerationMatch", generation) != generation:
            return _json({}, 412)
        if self.query.get("ifGenerationNotMatch") == generation:
            return 304, {}, b""
        return None

    def _put(self, name, content):
        self.server.objects[name] = content, next(self.server.generations)
        return self._resource(name)

    def _resource(self, name):
        content, generation = self.server.objects[name]
        about = {"kind": "storage#object", "bucket": BUCKET, "name": name}
        return about | {"size": str(len(content)), "generation": str(generation)}


def _json(value, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
