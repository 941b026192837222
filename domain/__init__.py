"""The business in plain Python: money, ids, states, reasons, and the saga's contract.

Standard library only. Workflows import nothing else of ours, so what stands here must be deterministic.
"""
