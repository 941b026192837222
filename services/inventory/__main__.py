"""``python -m services.inventory``: this service alone in a process."""

from runtime.process import run_process
from services.inventory.server import run

run_process({"inventory": run})
