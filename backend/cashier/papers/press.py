"""Papers onto sheets: HTML for a printer, PDF for a phone; each in a bounded process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.base.errors import Problem

CHILD = Path(__file__).with_name("press_child.py")
FONTS = Path(__file__).resolve().parents[2] / "console" / "static" / "vendor" / "fonts"
FONT_URL = "/console/static/vendor/fonts"
PATIENCE_S = 15
AT_ONCE = 2
WAIT_S = 10
_gate = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A document: HTML or PDF, its pages (PDF only), and characters no font of ours has."""

    document: bytes
    pages: int
    missing: tuple[str, ...]


def html(source: str, context: Mapping[str, Any], size: str, marks: str = "") -> Sheet:
    """The paper as a page for a browser's printer."""
    return _press(source, context, size, marks, "html")


def pdf(source: str, context: Mapping[str, Any], size: str, marks: str = "") -> Sheet:
    """The paper as a PDF with its glyphs embedded; the same bytes for the same paper."""
    if not FONTS.is_dir():
        raise Problem("pdf_unavailable")
    return _press(source, context, size, marks, "pdf")


def _press(source: str, context: Mapping[str, Any], size: str, marks: str, want: str) -> Sheet:
    """Problem template_invalid (with `line`), pdf_unavailable, press_busy."""
    job = {
        "source": source,
        "context": context,
        "size": size,
        "marks": marks,
        "want": want,
        "title": f"{context['title']} {context['no']}",
        "created": context["created"],
        "fonts": str(FONTS),
        "font_url": FONT_URL,
    }
    if not _gate.acquire(timeout=WAIT_S):
        raise Problem("press_busy")
    try:
        told, document = _run(json.dumps(job, ensure_ascii=False).encode())
    finally:
        _gate.release()
    if not told["ok"]:
        where = f"第 {told['line']} 行：" if told["line"] else ""
        raise Problem("template_invalid", where + told["sentence"], line=told["line"])
    return Sheet(document, told["pages"], tuple(told["missing"]))


def _run(job: bytes) -> tuple[dict[str, Any], bytes]:
    command = [sys.executable, "-I", str(CHILD)]
    try:
        done = subprocess.run(command, input=job, capture_output=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return _dead("模板运行时间太长，请检查循环。")
    if done.returncode == 0:
        head, _, document = done.stdout.partition(b"\n")
        told: dict[str, Any] = json.loads(head)
        return told, document
    if b"No module named 'plutoprint'" in done.stderr:
        raise Problem("pdf_unavailable")
    if done.returncode < 0:
        return _dead("模板运行时间太长或占用内存太多，请检查循环。")
    raise RuntimeError(f"the press failed: {done.stderr[-2000:].decode(errors='replace')}")


def _dead(sentence: str) -> tuple[dict[str, Any], bytes]:
    return {"ok": False, "line": None, "sentence": sentence}, b""
