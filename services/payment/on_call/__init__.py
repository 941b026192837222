"""What the payment service tells people on call: what does not get through, and what it knows of an order."""
