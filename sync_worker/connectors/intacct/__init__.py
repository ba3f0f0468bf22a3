"""Sage Intacct (REST v1): client, auth, changes and an emulator. ``connect.connect`` makes the connector."""
