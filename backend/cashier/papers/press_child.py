"""The press itself: one template and one paper in, HTML or PDF out, in a process of its own.

Run as `python -I press_child.py`, it reads one JSON from its input and writes one line of JSON
and then the document.  Being a process it can be bounded in earnest: a template of endless loops
dies of its CPU limit, a greedy one of its memory, a layout engine that breaks takes nobody along.
It imports nothing of Nuan, so it starts in a fraction of a second.

In:  {source, context, marks, size, want: "html"|"pdf", fonts: directory, font_url, created}
Out: {ok: true, pages, missing: [...]}, then the bytes; or {ok: false, line, sentence}.
"""

from __future__ import annotations

import html
import json
import re
import resource
import struct
import sys
from pathlib import Path
from typing import Any

CPU_S = 5
MEMORY_BYTES = 1 << 30
MAX_HTML = 512 * 1024
MAX_PAGES = 4
SIZES_MM = {"a4": (210, 297), "a5": (210, 148), "pin": (241, 93)}
# family, weight, file; later families are asked for what earlier ones have not.
FONTS = (
    ("Noto Sans SC", 400, "NotoSansSC_400Regular.ttf"),
    ("Noto Sans SC", 700, "NotoSansSC_700Bold.ttf"),
    ("Noto Sans HK", 400, "NotoSansHK_400Regular.ttf"),
    ("Noto Sans JP", 400, "NotoSansJP_400Regular.ttf"),
    ("Inconsolata", 400, "Inconsolata_400Regular.ttf"),
)
SANS = '"Noto Sans SC", "Noto Sans HK", "Noto Sans JP"'
# Inconsolata's letters are half as wide as a Chinese character, so columns stand under each other.
MONO = f"Inconsolata, {SANS}"


class Refused(Exception):
    """The template or its outcome cannot be used; the sentence is for whoever wrote it."""

    def __init__(self, sentence: str, line: int | None = None):
        super().__init__(sentence)
        self.sentence, self.line = sentence, line


def main() -> None:
    """Do one job."""
    _bound()
    job = json.load(sys.stdin.buffer)
    try:
        about, document = _work(job)
    except Refused as refused:
        about, document = _refusal(refused.sentence, refused.line), b""
    except MemoryError:
        about, document = _refusal("模板占用的内存太多。"), b""
    out = sys.stdout.buffer
    out.write(json.dumps(about).encode() + b"\n" + document)
    out.flush()


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refusal(sentence: str, line: int | None = None) -> dict[str, Any]:
    return {"ok": False, "line": line, "sentence": sentence}


def _work(job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    body = fill_in(job["source"], job["context"])
    if job["want"] == "html":
        page = wrapped(body, job, _faces(job["font_url"], local=True))
        return {"ok": True, "pages": 0, "missing": []}, page.encode()
    fonts = Path(job["fonts"])
    known = coverage(fonts)
    missing = sorted(set(_text(body + job["marks"])) - known)
    page = wrapped(spelled_out(body, missing), job, _faces(f"file://{fonts}", local=False))
    pages, document = pdf(page, job, fonts)
    return {"ok": True, "pages": pages, "missing": [chr(c) for c in missing]}, document


def fill_in(source: str, context: dict[str, Any]) -> str:
    """The template with the paper in it; Refused names the line of what is wrong."""
    from jinja2 import (
        DictLoader,
        StrictUndefined,
        TemplateError,
        TemplateNotFound,
        TemplateSyntaxError,
        UndefinedError,
    )
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    env = ImmutableSandboxedEnvironment(
        loader=DictLoader({}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        parts, size = [], 0
        for part in env.from_string(source).generate(paper=context):
            size += len(part)
            if size > MAX_HTML:
                raise Refused("模板产生的内容太长。")
            parts.append(part)
    except TemplateSyntaxError as error:
        raise Refused(f"模板语法有误：{error.message}", error.lineno) from None
    except TemplateNotFound as error:
        raise Refused("模板不能引用别的文件。", _line(error)) from None
    except UndefinedError as error:
        raise Refused(_undefined(str(error)), _line(error)) from None
    except SecurityError:
        raise Refused("模板里有不允许的操作。", _line_of_now()) from None
    except OverflowError:
        raise Refused("循环次数太多。", _line_of_now()) from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise Refused(f"模板计算出错：{error}", _line(error)) from None
    except RecursionError:
        raise Refused("模板嵌套太深。") from None
    return "".join(parts)


def _undefined(message: str) -> str:
    """jinja2's two sentences about what is not there, in Chinese."""
    names = re.findall(r"'([^']+)'", message)
    if "has no attribute" in message or "has no element" in message:
        return f"票据数据里没有“{names[-1] if names else '?'}”这一项。"
    return f"没有叫“{names[0] if names else '?'}”的变量，数据都在 paper 里。"


def _line(error: BaseException) -> int | None:
    """The template's line an error came from: the last of its frames that is the template's."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _line_of_now() -> int | None:
    error = sys.exc_info()[1]
    return None if error is None else _line(error)


def wrapped(body: str, job: dict[str, Any], faces: str) -> str:
    """A whole page: its size, our fonts, and the marks no template can leave out."""
    width, height = SIZES_MM[job["size"]]
    return f"""<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>{html.escape(job["title"])}</title>
<style>
{faces}
html, body {{ margin: 0; padding: 0; color: #000; background: #fff; }}
body {{ position: relative; width: {width}mm; font-size: 10pt; line-height: 1.35; }}
@page {{ size: {width}mm {height}mm; margin: 0; }}
.nuan-marks {{ position: absolute; top: 2mm; right: 6mm; text-align: right; font-size: 9pt; }}
.nuan-marks span {{ border: 0.3mm solid #000; padding: 0 1.5mm; margin-left: 1.5mm; }}
</style></head><body>
{body}
<div class="nuan-marks">{job["marks"]}</div>
<style>
* {{ font-family: {SANS}, sans-serif !important; }}
.mono, .mono * {{ font-family: {MONO}, monospace !important; }}
.nuan-marks, .nuan-marks span {{
    visibility: visible !important; opacity: 1 !important; color: #000 !important; }}
.nuan-marks {{ display: block !important; position: absolute !important; }}
.nuan-marks span {{ display: inline !important; }}
</style>
</body></html>
"""


def _faces(where: str, *, local: bool) -> str:
    """@font-face rules; a browser takes its own copy of a family where it has one."""
    lines = []
    for family, weight, name in FONTS:
        own = f'local("{family}"), ' if local and weight == 400 else ""
        lines.append(
            f'@font-face {{ font-family: "{family}"; font-weight: {weight}; '
            f'src: {own}url("{where}/{name}"); }}'
        )
    return "\n".join(lines)


def _text(markup: str) -> set[int]:
    """The characters a reader sees."""
    seen = re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", markup)
    return {ord(char) for char in html.unescape(seen) if not char.isspace()}


def spelled_out(body: str, missing: list[int]) -> str:
    """A character no font has is written as its code point, where all can see it: 〔U+2A6D5〕."""
    for code in missing:
        body = body.replace(chr(code), f"〔U+{code:04X}〕")
    return body


def coverage(fonts: Path) -> set[int]:
    """Every character our fonts have a glyph for."""
    return {code for _, _, name in FONTS for code in cmap(fonts / name)}


def cmap(path: Path) -> set[int]:
    """A TrueType font's characters, from its format 12 table (OpenType 1.9, cmap)."""
    data = path.read_bytes()
    tables = {
        data[at : at + 4]: struct.unpack_from(">II", data, at + 8)
        for at in range(12, 12 + 16 * struct.unpack_from(">H", data, 4)[0], 16)
    }
    base = tables[b"cmap"][0]
    codes: set[int] = set()
    for entry in range(struct.unpack_from(">H", data, base + 2)[0]):
        start = base + struct.unpack_from(">I", data, base + 4 + 8 * entry + 4)[0]
        kind = struct.unpack_from(">H", data, start)[0]
        if kind == 12:
            for group in range(struct.unpack_from(">I", data, start + 12)[0]):
                first, last, glyph = struct.unpack_from(">III", data, start + 16 + 12 * group)
                codes.update(range(first if glyph else first + 1, last + 1))
        elif kind == 4:
            codes |= _format_4(data, start)
    return codes


def _format_4(data: bytes, start: int) -> set[int]:
    """The characters of a table of 16-bit segments; a glyph of 0 is none."""
    count = struct.unpack_from(">H", data, start + 6)[0] // 2
    ends = struct.unpack_from(f">{count}H", data, start + 14)
    starts = struct.unpack_from(f">{count}H", data, start + 16 + 2 * count)
    deltas = struct.unpack_from(f">{count}H", data, start + 16 + 4 * count)
    offsets_at = start + 16 + 6 * count
    offsets = struct.unpack_from(f">{count}H", data, offsets_at)
    codes = set()
    for n, (first, last) in enumerate(zip(starts, ends, strict=True)):
        for code in range(first, min(last, 0xFFFE) + 1):
            glyph = code
            if offsets[n]:
                at = offsets_at + 2 * n + offsets[n] + 2 * (code - first)
                glyph = struct.unpack_from(">H", data, at)[0]
                if not glyph:
                    continue
            if (glyph + deltas[n]) & 0xFFFF:
                codes.add(code)
    return codes


def pdf(page: str, job: dict[str, Any], fonts: Path) -> tuple[int, bytes]:
    """(pages, document) by PlutoPrint, which may fetch our fonts and nothing else."""
    import io

    import plutoprint

    class OurFonts(plutoprint.ResourceFetcher):
        def fetch_url(self, url: str) -> Any:
            name = url.removeprefix(f"file://{fonts}/")
            if name not in {file for _, _, file in FONTS}:
                raise ValueError("not ours to fetch")
            return plutoprint.ResourceData((fonts / name).read_bytes(), "font/ttf", "")

    plutoprint.plutobook_set_fontconfig_path(str(Path(__file__).parent / "no_system_fonts"))
    book = plutoprint.Book()
    book.custom_resource_fetcher = OurFonts()
    book.load_html(page)
    pages = book.get_page_count()
    if pages > MAX_PAGES:
        raise Refused(f"排版后有 {pages} 页，最多 {MAX_PAGES} 页。")
    book.set_metadata(plutoprint.PDF_METADATA_TITLE, job["title"])
    for when in (plutoprint.PDF_METADATA_CREATION_DATE, plutoprint.PDF_METADATA_MODIFICATION_DATE):
        book.set_metadata(when, job["created"])
    out = io.BytesIO()
    book.write_to_pdf_stream(out)
    return pages, out.getvalue()


if __name__ == "__main__":
    main()
