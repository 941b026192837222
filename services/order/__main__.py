"""``python -m services.order``: this service alone in a process."""

from runtime.process import run_process
from services.order.server import run

run_process({"order": run})
