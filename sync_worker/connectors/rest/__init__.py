"""A CRM behind any JSON API, laid out by a profile (docs/howto/connect-the-layer.md)."""
