#!/bin/sh
# Makes the topics. Repeatable. How many partitions there are may never change: it would move keys, and break their order.
set -eu
for topic in order-events payment-events stock-events product-events user-events notification-events order-events.dlq; do
  /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:9093 --command-config /etc/ordersaga/kafka-client.properties \
    --create --if-not-exists --topic "$topic" --partitions 6 --replication-factor 1
done
