"""The part `codec-server`: shows admins, in the Web UI and in the temporal command, what is in encrypted payloads."""
