"""The mail sink: mails by SMTP and SMS by the Twilio double, all of which end in one mailbox."""
