"""A Hugging Face Hub in memory, served on loopback to the real client.

    with MiniHub(writers={"secret": ["org"]}) as hub:
        point_client_at(hub.url, monkeypatch, tmp_path)

It answers the requests by which the client creates a repository or a branch, commits (LFS files too), lists and
fetches. It does not implement Xet. Error responses carry the headers by which the client tells errors apart.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

REPO = r"(?P<repo>[^/]+/[^/]+)"


def point_client_at(url, monkeypatch, home):
    """Give the imported client the settings that HF_ENDPOINT, HF_HOME and no token would have given it at its import.

    The client reads the environment once, when it is imported, and from then on looks into its module `constants`.
    """
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # not in older clients
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Repo:
    """A repository: its commits, and the commit that each branch points to."""

    private: bool = False
    commits: dict = field(default_factory=dict)  # sha -> {path: content}
    branches: dict = field(default_factory=dict)  # name -> sha
    messages: dict = field(default_factory=dict)  # sha -> title

    def commit(self, branch, files, message=""):
        """Add or replace files and return the hash of the commit."""
        content = {**self.files(branch), **files}
        state = [len(self.commits), *sorted((path, hashlib.sha1(data).hexdigest()) for path, data in content.items())]
        sha = hashlib.sha1(repr(state).encode()).hexdigest()
        self.commits[sha], self.messages[sha], self.branches[branch] = content, message, sha
        return sha

    def sha(self, revision):
        """Return the commit of a branch or of a hash, None if neither exists."""
        return self.branches.get(revision, revision if revision in self.commits else None)

    def files(self, revision):
        return self.commits.get(self.sha(revision), {})


class MiniHub:
    """The server and its contents.

    Attributes:
        repos: repositories by name.
        writers: owners ("org") that a token may write to, by token; each token may read private repositories.
        requests: requests about repositories so far, such as "GET /org/name/resolve/main/config.json".
        agents: the User-Agent of each request.
        damage: functions of bytes by file path, applied to a file's content when it is sent.
        uploads_status: status with which uploads of large files are refused; None accepts them.
    """

    def __init__(self, writers=None):
        self.repos = {}
        self.writers = writers or {}
        self.requests = []
        self.agents = []
        self.damage = {}
        self.uploads_status = None
        self.uploads = {}  # sha256 -> content, before it is committed
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop the server. No connection outlives it, since each is closed after its response."""
        self.server.shutdown()
        self.server.server_close()

    def put(self, name, files, *, branch="main", private=False):
        """Commit files on the server and return the hash of the commit."""
        return self.repos.setdefault(name, Repo(private)).commit(branch, files)

    def asked(self):
        """Return the requests since the last call."""
        asked, self.requests[:] = list(self.requests), []
        return asked


class Refusal(Exception):
    """An error response."""

    def __init__(self, status, code="", message=""):
        super().__init__(message)
        self.status = status
        self.headers = {key: value for key, value in (("X-Error-Code", code), ("X-Error-Message", message)) if value}


class _Handler(BaseHTTPRequestHandler):
    hub: MiniHub

    def do_GET(self):
        if self.path != "/api/agent-harnesses":  # the client asks for it once a process, whichever test is first
            self.hub.requests.append(f"{self.command} {self.path}")
            self.hub.agents.append(self.headers.get("User-Agent", ""))
        path = urlsplit(self.path).path
        method = "GET" if self.command == "HEAD" else self.command
        body = self.body()  # read even if refused: a client that is still sending may miss the response
        try:
            self.allowed()
            for pattern, answer in _ROUTES[method]:
                if match := re.fullmatch(pattern, path):
                    answer(self, body, **{key: unquote(value) for key, value in match.groupdict().items()})
                    return
            raise Refusal(404, message=f"MiniHub does not know {self.command} {path}")
        except Refusal as refusal:
            self.send(refusal.status, {"error": str(refusal)}, refusal.headers)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *_):
        """Print nothing."""

    def body(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def send(self, status, content, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **dict(headers)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # Permissions and lookups.

    def token(self):
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def allowed(self):
        if self.token() and self.token() not in self.hub.writers:
            raise Refusal(401, message="Invalid credentials in Authorization header")

    def may_write(self, name):
        if not self.token():
            raise Refusal(401, message="Invalid username or password.")
        if name.partition("/")[0] not in self.hub.writers[self.token()]:
            raise Refusal(403, message=f"You don't have the rights to write to {name}")

    def found(self, name):
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.token()):
            raise Refusal(404 if self.token() else 401, "RepoNotFound", "Repository not found")
        return repo

    def revision(self, name, revision):
        repo = self.found(name)
        if repo.sha(revision) is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, repo.sha(revision)

    # Reading.

    def whoami(self, _):
        if not self.token():
            raise Refusal(401, message="Invalid username or password.")
        self.send(200, {"type": "user", "name": self.hub.writers[self.token()][0]})

    def info(self, _, repo, revision="main"):
        found, sha = self.revision(repo, revision)
        siblings = [{"rfilename": path} for path in sorted(found.commits[sha])]
        self.send(200, {"id": repo, "sha": sha, "siblings": siblings, "private": found.private, "tags": []})

    def tree(self, _, repo, revision):
        found, sha = self.revision(repo, revision)
        files = found.commits[sha].items()
        self.send(200, [{"type": "file", "path": path, **_sizes(path, data)} for path, data in sorted(files)])

    def paths_info(self, body, repo, revision):
        found, sha = self.revision(repo, revision)
        asked = parse_qs(body.decode())["paths"]
        files = [(path, data) for path, data in sorted(found.commits[sha].items()) if path in asked]
        self.send(200, [{"type": "file", "path": path, **_sizes(path, data)} for path, data in files])

    def resolve(self, _, repo, revision, path):
        found, sha = self.revision(repo, revision)
        if path not in found.commits[sha]:
            raise Refusal(404, "EntryNotFound", f"{path} does not exist on {revision}")
        data = found.commits[sha][path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_name(path, data)}"'}
        if self.command == "HEAD":
            headers |= {"X-Linked-Size": str(len(data))}
        else:
            data = self.hub.damage.get(path, bytes)(data)
        self.send(200, data, headers)

    # Writing.

    def create(self, body):
        asked = json.loads(body)
        if not self.token():
            raise Refusal(401, message="Invalid username or password.")
        name = f"{asked.get('organization') or self.hub.writers[self.token()][0]}/{asked['name']}"
        self.may_write(name)
        url = f"{self.hub.url}/{name}"
        if name in self.hub.repos:
            self.send(409, {"error": "You already created this model repo", "url": url})
            return
        self.hub.put(name, {".gitattributes": b""}, private=asked.get("visibility") == "private")
        self.send(200, {"url": url})

    def branch(self, _, repo, revision):
        self.may_write(repo)
        found = self.found(repo)
        if revision in found.branches:
            raise Refusal(409, message="Reference already exists")
        found.branches[revision] = found.branches["main"]
        self.send(201, {})

    def validate(self, body):
        metadata = json.loads(body)["content"].split("---\n")
        errors = [] if len(metadata) > 2 else [{"message": "no metadata"}]
        self.send(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, body, repo, revision):
        self.may_write(repo)
        self.revision(repo, revision)
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = [{"path": path, "uploadMode": "lfs" if _is_lfs(path) else "regular"} for path in paths]
        self.send(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})

    def lfs_batch(self, body, repo):
        self.may_write(repo)
        objects = [
            {**given, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{given['oid']}"}}}
            for given in json.loads(body)["objects"]
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, body, oid):
        if self.hub.uploads_status:
            raise Refusal(self.hub.uploads_status, message="upload refused")
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, message="the content does not match its hash")
        self.hub.uploads[oid] = body
        self.send(200, {})

    def commit(self, body, repo, revision):
        self.may_write(repo)
        found, _ = self.revision(repo, revision)
        files, title = {}, ""
        for line in body.splitlines():
            kind, value = (item := json.loads(line))["key"], item["value"]
            if kind == "header":
                title = value["summary"]
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        sha = found.commit(revision, files, title)
        self.send(200, {"commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})


def _is_lfs(path):
    return path.endswith((".safetensors", ".bin"))


def _name(path, data):
    """Return the hash by which the Hub names a content: SHA-256 for LFS files, the git blob hash for others."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data)
    return (hashlib.sha256(data) if _is_lfs(path) else git).hexdigest()


def _sizes(path, data):
    lfs = {"lfs": {"oid": _name(path, data), "size": len(data), "pointerSize": 134}} if _is_lfs(path) else {}
    return {"size": len(data), "oid": hashlib.sha1(data).hexdigest(), **lfs}


_ROUTES = {
    "GET": [
        (r"/api/whoami-v2", _Handler.whoami),
        (rf"/api/models/{REPO}", _Handler.info),
        (rf"/api/models/{REPO}/revision/(?P<revision>[^/]+)", _Handler.info),
        (rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)", _Handler.tree),
        (rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
    ],
    "POST": [
        (r"/api/repos/create", _Handler.create),
        (r"/api/validate-yaml", _Handler.validate),
        (rf"/api/models/{REPO}/paths-info/(?P<revision>[^/]+)", _Handler.paths_info),
        (rf"/api/models/{REPO}/branch/(?P<revision>[^/]+)", _Handler.branch),
        (rf"/api/models/{REPO}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
        (rf"/{REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
        (rf"/api/models/{REPO}/commit/(?P<revision>[^/]+)", _Handler.commit),
    ],
    "PUT": [(r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put)],
}
"""Path patterns and their handlers, by method."""
