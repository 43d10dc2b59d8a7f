"""The built-in web page of the monitor: files in, responses out.

In: names of files. Out: the page at `/` and what it loads from `/assets`. Decided here: nothing
comes from elsewhere (Plotly's script is that of the Python package), and the page itself holds no
data: it asks `/v1/monitor` with the reader's token. A strict content security policy keeps it so.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

PATHS = ("/", "/assets/page.css", "/assets/page.js", "/assets/plotly.min.js")
"""Answered without a token."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "  # Plotly's own
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Add the routes of the page."""

    async def page() -> Response:
        return _send("page.html", "text/html; charset=utf-8")

    async def style() -> Response:
        return _send("page.css", "text/css")

    async def script() -> Response:
        return _send("page.js", "text/javascript")

    async def plotly() -> Response:
        headers = {**_HEADERS, "cache-control": "public, max-age=86400"}
        return FileResponse(_find_plotly(), media_type="text/javascript", headers=headers)

    for path, answer in zip(PATHS, (page, style, script, plotly), strict=True):
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False)


def _find_plotly() -> Path:
    """Plotly's script in the installed package."""
    return Path(str(files("plotly"))) / "package_data" / "plotly.min.js"


def _send(name: str, media_type: str) -> Response:
    content = (files("deepicd") / "data" / "monitor" / name).read_bytes()
    return Response(content, media_type=media_type, headers=_HEADERS)
