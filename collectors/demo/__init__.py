"""The demonstration: a small town, its weeks of history, and everything running on this machine."""
