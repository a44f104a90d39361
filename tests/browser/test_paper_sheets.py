"""A paper's sheet, printed by a real Chromium, is one page of the size the form has."""

import io

import pypdf
import pytest

from backend.cashier.papers import specimens, templates

SIZES_MM = {"a5": (210, 148), "a4": (210, 297), "pin": (241, 93)}


@pytest.mark.browser
@pytest.mark.parametrize("kind", templates.KINDS)
@pytest.mark.parametrize("size", SIZES_MM)
def test_a_browser_prints_one_page_of_the_sheets_size(browser, kind, size):
    sheet = specimens.preview(kind, size, templates.came_with(kind, size))
    page = browser.new_page()
    page.set_content(sheet.document.decode())
    pages = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
    page.close()
    assert len(pages) == 1
    printed = [float(points) * 25.4 / 72 for points in pages[0].mediabox[2:]]
    assert printed == pytest.approx(SIZES_MM[size], abs=0.5)
