-- The indexes that only reads need: made when a generation has been filled, since a table is filled faster without them.
-- Each can be made again after an interruption.

-- The checkpoint that moves in the same transaction sees to it that no event comes twice; this would find it.
CREATE UNIQUE INDEX IF NOT EXISTS order_events_by_offset ON order_events (partition, "offset");

CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer_id, placed_at_us, order_id);

-- Not unique, though it is: what the log holds must never be able to stop the projector.
CREATE INDEX IF NOT EXISTS order_events_by_order ON order_events (order_id, sequence);

CREATE INDEX IF NOT EXISTS sales_by_sku ON sales (sku, day);
