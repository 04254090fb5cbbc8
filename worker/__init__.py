"""Ditio Worker brings work-order events from RabbitMQ to Ditio's task API."""

__version__ = "0.1.0"
