"""This room's tests run against the sandbox."""

from tests.outside import app, hook, in_threads, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "in_threads", "phone", "sandbox", "sandbox_keys"]
