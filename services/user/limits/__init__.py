"""Rate limits that all gateways share: buckets of permits, each a row."""
