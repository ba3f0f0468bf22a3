"""Importing this package registers every handler: the list below is the registration."""

from handlers import customers, invoices

__all__ = ["customers", "invoices"]
