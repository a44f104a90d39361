"""The residents' pages (the mini-program's H5 build) at `/`.

Pages are told apart by the fragment (#/pages/…), so one document and its assets are all there is.
"""

from __future__ import annotations

from pathlib import Path

from apiflask import APIBlueprint
from flask import Response, current_app, make_response, send_from_directory

from backend.base.errors import Problem
from backend.people.access import allow

bp = APIBlueprint("h5", __name__, enable_openapi=False)

_HOUSE = Path(__file__).resolve().parents[2]
_YEAR_S = 365 * 86_400

# What a person sees who opens the address before the pages have been built.
_NOT_BUILT = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>暖 Nuan</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:18px/1.7 system-ui,sans-serif;max-width:36em;margin:12vh auto;padding:0 1.2em}
code{background:#f2f0ee;padding:.1em .4em;border-radius:4px}a{color:#b4380a}</style></head>
<body><h1>暖 Nuan 已经启动</h1>
<p>居民页面还没有构建。请在项目目录运行 <code>make h5</code>，完成后刷新本页。</p>
<p>接口文档：<a href="/docs">/docs</a>　员工后台：<a href="/console/">/console</a></p>
</body></html>
"""


def directory() -> Path:
    """Where the built pages lie (NUAN_H5_DIR, relative to the project)."""
    return _HOUSE / str(current_app.extensions["nuan_settings"].h5_dir)


@bp.get("/")
@allow("anyone")
def index() -> Response:
    """The document; always asked for anew, because it names the assets of the newest build."""
    page = directory() / "index.html"
    text = page.read_text(encoding="utf-8") if page.is_file() else _NOT_BUILT
    response = make_response(text)
    response.headers["Cache-Control"] = "no-cache"
    return response


@bp.get("/assets/<path:name>")
@allow("anyone")
def asset(name: str) -> Response:
    """A script or a style whose name carries its digest: it may be kept for a year."""
    return _file("assets", name, f"public, max-age={_YEAR_S}, immutable")


@bp.get("/static/<path:name>")
@allow("anyone")
def static(name: str) -> Response:
    """An image or a font; its name stays when it changes, so it is kept for an hour."""
    return _file("static", name, "public, max-age=3600")


def _file(folder: str, name: str, cache: str) -> Response:
    if "\0" in name:
        raise Problem("not_found")
    response = send_from_directory(directory() / folder, name, conditional=True)
    response.headers["Cache-Control"] = cache
    return response
