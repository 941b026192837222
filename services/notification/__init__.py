"""Notification: mails customers what becomes of their orders, and sends what admins write by mail or SMS."""
