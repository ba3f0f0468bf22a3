"""Sage CRM (REST, SData 2.0): client, auth, changes and an emulator. ``connect.connect`` makes the connector."""
