"""Simulated meters, buses and buildings on real sockets, with faults to order."""
