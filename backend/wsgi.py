"""What the web server loads: one application a process."""

from backend import app_from_environment

app = app_from_environment()
