"""Copy the console's front-end packages from node_modules to where the console serves them.

They are served by Nuan itself: a member of staff's browser talks to nobody else.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

CONSOLE = Path(__file__).resolve().parent.parent / "backend" / "console"
MODULES = CONSOLE / "assets" / "node_modules"
VENDOR = CONSOLE / "static" / "vendor"
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "echarts/dist/echarts.min.js": "echarts.min.js",
    "swagger-ui-dist/swagger-ui.css": "swagger-ui/swagger-ui.css",
    "swagger-ui-dist/swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js",
    "swagger-ui-dist/swagger-ui-standalone-preset.js": "swagger-ui/swagger-ui-standalone-preset.js",
    # What papers are printed with (backend/cashier/papers/press_child.py); SIL Open Font License.
    **{
        f"@expo-google-fonts/{package}/{file}": f"fonts/{file.split('/')[-1]}"
        for package, file in (
            ("noto-sans-sc", "400Regular/NotoSansSC_400Regular.ttf"),
            ("noto-sans-sc", "700Bold/NotoSansSC_700Bold.ttf"),
            ("noto-sans-hk", "400Regular/NotoSansHK_400Regular.ttf"),
            ("noto-sans-jp", "400Regular/NotoSansJP_400Regular.ttf"),
            ("inconsolata", "400Regular/Inconsolata_400Regular.ttf"),
        )
    },
    "@expo-google-fonts/noto-sans-sc/LICENSE_FONT": "fonts/NotoSans-OFL.txt",
    "@expo-google-fonts/inconsolata/LICENSE_FONT": "fonts/Inconsolata-OFL.txt",
}


def main() -> None:
    """Replace static/vendor by the files above."""
    shutil.rmtree(VENDOR, ignore_errors=True)
    for source, target in FILES.items():
        if not (MODULES / source).exists():
            sys.exit(f"assets: {source} is not in {MODULES}; run make setup again")
        (VENDOR / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(MODULES / source, VENDOR / target)
    print(f"==> console assets: {len(FILES)} files, {size_mb():.1f} MB")


def size_mb() -> float:
    """Megabytes under static/vendor."""
    return sum(f.stat().st_size for f in VENDOR.rglob("*") if f.is_file()) / 1e6


if __name__ == "__main__":
    main()
