"""Days are business days."""

from pathlib import Path

import backend

ROOT = Path(backend.__file__).parent
# Where `.date()` is asked of something that is no instant in UTC.
LOCAL = {"base/clock.py", "commands.py", "metering/import_rows.py", "metering/plans.py"}


def test_no_room_takes_the_utc_day_of_an_instant_for_its_business_day():
    """Between 00:00 and 08:00 in Shanghai it is still yesterday in UTC: ask base.clock."""
    asking = {
        str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if ".date()" in path.read_text()
    }
    assert asking == LOCAL
