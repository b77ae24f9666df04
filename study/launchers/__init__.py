"""Launchers: where attempts run. One protocol, one file each."""
