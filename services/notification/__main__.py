"""``python -m services.notification``: this service alone in a process."""

from runtime.process import run_process
from services.notification.server import run

run_process({"notification": run})
