"""What the web server loads: one application a process."""

from backend import app_from_environment
from backend.base.process import end_with_parent

# A worker that outlived its killed server would hold the port against the next one.
end_with_parent()
app = app_from_environment()
