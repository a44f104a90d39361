"""The press: glyphs embedded and searchable, one sheet each, hostile templates bounded."""

import io
import time
from dataclasses import asdict

import pypdf
import pytest

from backend.base.errors import Problem
from backend.cashier.papers import press, specimens, templates
from backend.cashier.papers.titles import Party

MM = 72 / 25.4
SIZES = {"a4": (210, 297), "a5": (210, 148), "pin": (241, 93)}


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
    ],
)
def test_what_is_wrong_with_a_template_is_named_with_its_line(source, line, word):
    with pytest.raises(Problem) as caught:
        specimens.preview("receipt", "a5", source)
    assert caught.value.code == "template_invalid"
    assert word in caught.value.detail
    if line is not None:
        assert caught.value.extra["line"] == line, caught.value.detail


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
