"""``python -m services.user``: this service alone in a process."""

from runtime.process import run_process
from services.user.server import run

run_process({"user": run})
