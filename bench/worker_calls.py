"""What order workers ask of Temporal, as the SDK counts it: says why more workers cost what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from sandbox.ports import address

CALLS: Final = "calls of Temporal"
POLLS: Final = "polls for tasks, of these"
REPLAYS: Final = "replays of an order that another worker had"
_COUNTED: Final = {
    "temporal_request_total": CALLS,
    "temporal_long_request_total": POLLS,
    "temporal_sticky_cache_miss_total": REPLAYS,
}


async def count_worker_calls(probe_ports: Iterable[int]) -> Counter[str]:
    """What the workers that show their metrics on these ports asked so far."""
    counted: Counter[str] = Counter(dict.fromkeys(_COUNTED.values(), 0))
    async with httpx.AsyncClient(trust_env=False) as http:
        for port in probe_ports:
            shown = (await http.get(f"http://{address(port)}/metrics")).raise_for_status().text
            for family in text_string_to_metric_families(shown):
                for sample in family.samples:
                    if (what := _COUNTED.get(sample.name)) is not None:
                        counted[what] += int(sample.value)
    counted[CALLS] += counted[POLLS]
    return counted
