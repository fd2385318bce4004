"""The securecall command."""
