"""Kafka as this project uses it: clients, topics, ownership of partitions, followed tables, dead letters."""
