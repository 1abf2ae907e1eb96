"""The page's own files, read once: they ship with the package and need nothing from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from webob import Request, Response

FOLDER = Path(__file__).resolve().parent / "page"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
# Nothing but our own files, no script within a page, and no other page around this one.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes
    type: str
    etag: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """Every file by its name below the page's folder."""
    files = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            content = path.read_bytes()
            etag = hashlib.sha256(content).hexdigest()[:16]
            files[path.relative_to(FOLDER).as_posix()] = PageFile(content, TYPES[path.suffix], etag)
    return files


def page_file(files: Mapping[str, PageFile], name: str, request: Request) -> Response:
    """One file; 304 where the browser has it already, 404 where there is none."""
    file = files.get(name)
    if file is None:
        return Response(json_body={"error": f"no such page: {name}"}, status=404)
    response = Response(body=file.content, content_type=file.type, charset="utf-8", conditional_response=True)
    response.etag = file.etag
    response.cache_control = "no-cache"  # ask each time: a new version shows at once
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
