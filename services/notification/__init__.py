"""Notification: mails customers what becomes of their orders."""
