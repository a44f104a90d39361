"""A paper's sheet, printed by a real Chromium, is one page of the size the form has."""

import io
import re
import unicodedata

import pypdf
import pytest

from backend.cashier.papers import press, sheets, specimens, templates
from tests.cashier.papers.test_press import many

SIZES_MM = {"a5": (210, 148), "a4": (210, 297), "pin": (241, 93)}


def printed(browser, sheet):
    """The pages a printer gets."""
    page = browser.new_page()
    page.set_content(sheet.document.decode())
    pages = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
    page.close()
    return pages


@pytest.mark.browser
@pytest.mark.parametrize("kind", templates.KINDS)
@pytest.mark.parametrize("size", SIZES_MM)
def test_a_browser_prints_one_page_of_the_sheets_size(browser, kind, size):
    sheet = specimens.preview(kind, size, templates.came_with(kind, size))
    pages = printed(browser, sheet)
    assert len(pages) == 1
    sides = [float(points) * 25.4 / 72 for points in pages[0].mediabox[2:]]
    assert sides == pytest.approx(SIZES_MM[size], abs=0.5)


@pytest.mark.browser
@pytest.mark.parametrize("kind", templates.KINDS)
@pytest.mark.parametrize("size", SIZES_MM)
def test_twenty_lines_go_on_under_their_heads_on_numbered_pages(browser, kind, size):
    told = many(kind)
    sheet = press.html(templates.came_with(kind, size), told, size, sheets.marks("补打 第2次"))
    pages = [page.extract_text() for page in printed(browser, sheet)]
    texts = ["".join(unicodedata.normalize("NFKC", text).split()) for text in pages]
    assert len(texts) <= 3
    for number, text in enumerate(texts, 1):
        assert re.search(f"第{number}.共{len(texts)}.", text)  # 页 reads back as its radical
        assert "项目" in text
    assert "补打第2次" in texts[0]
    assert f"¥{told['amount']}" in texts[-1]
