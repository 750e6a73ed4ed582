"""The orders: an aggregate with @event methods, and an application that gets it from its repository, calls it and saves it."""

import uuid

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

EVENTS_BEFORE = 5
STREAMS_AT_ONCE = 100
LINES_AT_MOST = 100


class Order(Aggregate):
    @event("OrderPlaced")
    def __init__(self, customer_id: uuid.UUID, currency: str, lines: list, placed_at: str) -> None:
        self.customer_id = customer_id
        self.currency = currency
        self.lines = list(lines)
        self.placed_at = placed_at

    def add_line(self, line: dict) -> None:
        if len(self.lines) >= LINES_AT_MOST:
            raise ValueError("the order has too many lines")
        self._add_line(line)

    @event("LineAdded")
    def _add_line(self, line: dict) -> None:
        self.lines.append(line)


class Orders(Application[uuid.UUID]):
    def place(self) -> uuid.UUID:
        order = example_order()
        self.save(order)
        return order.id

    def add_line(self, order_id: uuid.UUID, line: dict) -> None:
        order = self.repository.get(order_id)
        order.add_line(line)
        self.save(order)

    def fill(self, streams: int) -> list[uuid.UUID]:
        """Makes this many streams of five events each, many in one transaction."""
        ids = []
        while len(ids) < streams:
            orders = [example_order() for _ in range(min(STREAMS_AT_ONCE, streams - len(ids)))]
            for order in orders:
                for _ in range(1, EVENTS_BEFORE):
                    order.add_line(example_line())
            self.save(*orders)
            ids += [order.id for order in orders]
        return ids

    def count(self) -> int:
        return self.sql(f"SELECT count(*) AS events FROM {self.recorder.events_table_name}").fetchone()["events"]

    def analyze(self) -> None:
        self.sql(f"ANALYZE {self.recorder.events_table_name}")

    def sql(self, statement: str):
        with self.recorder.datastore.transaction(commit=True) as cursor:
            return cursor.execute(statement)


def example_line() -> dict:
    return {"sku": "85123A-hanging-heart", "quantity": 6, "unit_price_minor": 255}


def example_order() -> Order:
    return Order(uuid.uuid4(), "GBP", [example_line()], "2026-01-31T12:34:56.789Z")
