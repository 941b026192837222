"""An account over HTTP: Stripe's API, the switches, the page of a bank, webhooks."""
