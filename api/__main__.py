"""``python -m api``: the gateway alone in a process."""

from api.server import run
from runtime.process import run_process

run_process({"gateway": run})
