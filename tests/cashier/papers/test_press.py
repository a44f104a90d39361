"""The press: glyphs embedded and searchable, one sheet each, hostile templates bounded."""

import io
import threading
import time
from dataclasses import asdict
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pypdf
import pytest

from backend.base.errors import Problem
from backend.cashier.papers import press, rules, sheets, specimens, templates
from backend.cashier.papers.rules import Line
from backend.cashier.papers.titles import Party

MM = 72 / 25.4
LONG = "内蒙古自治区呼伦贝尔市鄂伦春自治旗大兴安岭林业集团物业服务有限责任公司（非独立核算）"
CONTEXT = specimens.context("receipt")
SIZES = {"a4": (210, 297), "a5": (210, 148), "pin": (241, 93)}


@pytest.fixture
def outside():
    """A server that writes down what it is asked for."""

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def read(sheet):
    reader = pypdf.PdfReader(io.BytesIO(sheet.document))
    return reader, "".join(reader.pages[0].extract_text().split())


@pytest.mark.parametrize("kind", ["receipt", "invoice"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("red", [False, True])
def test_a_specimen_is_one_sheet_of_its_size_with_its_text_and_fonts_in_it(kind, size, red):
    sheet = specimens.proof(kind, size, templates.came_with(kind, size), red=red)
    reader, text = read(sheet)
    assert len(reader.pages) == sheet.pages == 1
    width, height = reader.pages[0].mediabox[2:]
    assert abs(width - SIZES[size][0] * MM) < 1 and abs(height - SIZES[size][1] * MM) < 1
    told = specimens.context(kind, red=red)
    for word in (told["no"], told["capitals"], told["amount"], told["buyer"]["name"]):
        assert word in text, word
    for font in reader.pages[0]["/Resources"]["/Font"].values():
        font = font.get_object()
        inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
        assert {"/FontFile2", "/FontFile3"} & set(inner["/FontDescriptor"].get_object())
        assert "+" in font["/BaseFont"]  # a subset
    assert len(sheet.document) < 200_000


def named(name):
    context = specimens.context("receipt") | {"buyer": asdict(Party(name=name))}
    return press.pdf(templates.came_with("receipt", "a5"), context, "a5")


def test_rare_characters_of_names_are_in_it_and_one_no_font_has_is_spelled_out():
    sheet = named("㛃䶮𠮷堃𬭊")
    assert sheet.missing == () and "㛃䶮𠮷堃𬭊" in read(sheet)[1]
    sheet = named("张𪛔")
    assert sheet.missing == ("𪛔",)
    assert "张〔U+2A6D4〕" in read(sheet)[1]


def test_the_same_paper_is_the_same_bytes():
    assert named("张三").document == named("张三").document


@pytest.mark.parametrize(
    ("source", "line", "word"),
    [
        ("<p>\n{{ paper.nothing }}", 2, "nothing"),
        ("{{ payer }}", 1, "payer"),
        ("\n\n{% for x in %}", 3, "语法"),
        ("{% for i in range(10**9) %}x{% endfor %}", 1, "循环"),
        ("{{ paper.__class__.__mro__ }}", 1, "不允许"),
        ("{{ ''.__class__ }}", 1, "不允许"),
        ("{{ 1 / 0 }}", 1, "计算"),
        ("{% include 'x' %}", None, ""),
        ("{{ 'x' * 10**7 }}", None, "太长"),
        # Ways out of a sandbox: by attributes, filters, formats and what a loop or a macro holds.
        ("<p>\n{{ paper.no.__init__.__globals__ }}", 2, "不允许"),
        ("\n\n{{ paper|attr('__class__') }}", 3, ""),
        ("\n{{ paper['__class__'] }}", 2, ""),
        ("{{ [].__class__.__base__.__subclasses__() }}", 1, "不允许"),
        ("\n{{ '{0.__class__}'.format(paper) }}", 2, "不允许"),
        ("{{ ['x']|map(attribute='__class__')|join }}", 1, "不允许"),
        ("\n{{ (paper.lines|map(attribute='__class__')|list)[0].x }}", 2, ""),
        ("{{ self.__dict__ }}", 1, "不允许"),
        ("{% macro m() %}{% endmacro %}\n{{ m.__globals__ }}", 2, "__globals__"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", 1, "不允许"),
        ("{{ lipsum.__globals__ }}", 1, "不允许"),
        ("\n{{ namespace.__init__ }}", 2, "不允许"),
        ("{% for x in paper.lines %}\n{{ loop.__class__ }}{% endfor %}", 2, "不允许"),
        ("{{ paper.lines.append(1) }}", 1, "不允许"),
        ("{{ paper.update({'no': '1'}) }}", 1, "不允许"),
        ("{{ paper.no.format_map(paper) }}{{ ('%' ~ 's').__mod__ }}", 1, "不允许"),
        # Other files: there are none to include, import or inherit from.
        ("\n{% include '/etc/passwd' %}", 2, "别的文件"),
        ("\n\n{% import 'x' as x %}", 3, "别的文件"),
        ("{% from 'x' import y %}", 1, "别的文件"),
        ("{% extends '/etc/passwd' %}", 1, "别的文件"),
        ("{% include ['a', 'b'] ignore missing %}{{ paper.gone }}", 1, "gone"),
        # Loops and sums without an end.
        ("\n{% for a in range(999999999) %}x{% endfor %}", 2, "循环"),
        ("{{ lipsum(n=100000) }}", None, ""),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", None, "嵌套"),
        ("{{ 2 ** (10 ** 9) }}", None, ""),
        ("{{ 'x'.rjust(10 ** 9) }}", None, ""),
    ],
)
def test_what_is_wrong_with_a_template_is_named_with_its_line(source, line, word):
    with pytest.raises(Problem) as caught:
        specimens.preview("receipt", "a5", source)
    assert caught.value.code == "template_invalid"
    assert word in caught.value.detail
    if line is not None:
        assert caught.value.extra["line"] == line, caught.value.detail


@pytest.mark.parametrize(
    "source",
    [
        "<img src='file:///etc/passwd'>",
        "<img src='{url}/x.png'>",
        "<link rel='stylesheet' href='{url}/x.css'>",
        "<style>@import url('{url}/x.css'); body {{ background: url('{url}/y.png') }}</style>",
        "<style>@font-face {{ font-family: 'Noto Sans SC'; src: url('{url}/f.ttf') }}</style>",
        "<style>p {{ background: url('file:///etc/hostname') }}</style>",
        "<object data='{url}/o'></object><embed src='{url}/e'><iframe src='{url}/i'></iframe>",
        "<script src='{url}/s.js'></script><script>fetch('{url}/t')</script>",
        "<svg><image href='{url}/v.png'/><use href='{url}/w.svg#a'/></svg>",
    ],
)
def test_the_press_asks_nobody_for_anything(source, outside):
    sheet = press.pdf(source.format(url=outside.url) + "<p>{{ paper.no }}</p>", CONTEXT, "a5")
    assert CONTEXT["no"] in read(sheet)[1]
    assert outside.asked == []


def test_a_template_cannot_take_the_marks_away():
    hidden = (
        "<style>.nuan-marks, .nuan-marks span { display: none !important; opacity: 0; "
        "visibility: hidden; color: #fff }</style><p>{{ paper.no }}</p>"
    )
    assert "作废" in read(press.pdf(hidden, CONTEXT, "a5", sheets.marks("作废")))[1]


def many(kind, count=20):
    """A paper of so many lines, its names as long as they come."""
    lines = [
        rules.taxed(
            Line(f"第{n}项 2026年1月1日至1月31日 热费", 12345, "heat", n, Decimal(7), "m³"),
            "taxed",
            900,
        )
        for n in range(1, count + 1)
    ]
    party = Party("company", LONG, "91110108551385082Q", LONG, "0451-5550000", LONG, "35000401")
    seller = {**CONTEXT["seller"], "name": LONG[::-1]}
    return {
        **specimens.context(kind),
        **sheets.lines_facts(lines),
        "buyer": asdict(party),
        "seller": seller,
        "place": LONG,
        "remark": LONG,
    }


@pytest.mark.parametrize("kind", templates.KINDS)
@pytest.mark.parametrize("size", list(SIZES))
def test_long_names_and_twenty_lines_are_all_there_on_numbered_pages(kind, size):
    told = many(kind)
    sheet = press.pdf(templates.came_with(kind, size), told, size)
    pages = ["".join(page.extract_text().split()) for page in read(sheet)[0].pages]
    text = "".join(pages)
    for line in told["lines"]:
        assert "".join(line["title"].split()) in text
    assert LONG in text and LONG[::-1] in text and told["capitals"] in text
    for number, page in enumerate(pages, 1):
        assert f"第{number}页共{len(pages)}页" in page
        assert ("项目名称" if kind == "invoice" and size != "pin" else "项目") in page
    assert len(pages) <= 2 or size == "pin"


def test_an_invoice_says_who_issued_checked_and_took_the_money_and_the_price_before_tax():
    context = specimens.context("invoice")
    for size in SIZES:
        text = read(press.pdf(templates.came_with("invoice", size), context, size))[1]
        for word in ("收款人：王会计", "复核：李复核", "开票人：王会计", "税率", "免税", "备注"):
            assert word in text, (size, word)
        # 20 m³ x 2.93577982 = 58.72, with 9 % tax 64.00.
        assert "2.93577982" in text and "58.72" in text and "5.28" in text


def test_endless_loops_die_of_their_limit_and_the_worker_lives():
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    began = time.monotonic()
    with pytest.raises(Problem, match="循环"):
        specimens.preview("receipt", "a5", loops)
    assert time.monotonic() - began < 60
    assert specimens.preview("receipt", "a5", "<p>{{ paper.no }}</p>").document


def test_greed_for_memory_dies_of_its_limit():
    with pytest.raises(Problem, match=r"内存|太长|循环|计算"):
        specimens.preview("receipt", "a5", "{% set x = 'x' * 10**10 %}")


def test_data_is_escaped_and_nothing_is_fetched():
    context = specimens.context("receipt") | {"buyer": asdict(Party(name="<img src=file:///x>"))}
    sheet = press.html(templates.came_with("receipt", "a5"), context, "a5")
    assert b"&lt;img src=file:///x&gt;" in sheet.document
    source = "<img src='file:///etc/passwd'><img src='http://127.0.0.1:9/x'><p>{{ paper.no }}</p>"
    assert press.pdf(source, context, "a5").pages == 1
