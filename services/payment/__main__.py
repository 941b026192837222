"""``python -m services.payment``: this service alone in a process."""

from runtime.process import run_process
from services.payment.server import run

run_process({"payment": run})
