"""``python -m services.product``: this service alone in a process."""

from runtime.process import run_process
from services.product.server import run

run_process({"product": run})
