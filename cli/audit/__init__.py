"""`ordersaga audit`: do money, stock and orders agree? Read from the databases, Stripe, Temporal and Kafka."""
