"""Sending messages, carried out by a worker."""
