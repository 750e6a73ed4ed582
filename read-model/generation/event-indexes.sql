-- The same for the largest table, at the same time as the others.

-- The checkpoint that moves in the same transaction sees to it that no event comes twice; this would find it.
CREATE UNIQUE INDEX IF NOT EXISTS order_events_by_offset ON order_events (partition, "offset");

-- Not unique, though it is: what the log holds must never be able to stop the projector.
CREATE INDEX IF NOT EXISTS order_events_by_order ON order_events (order_id, sequence);

ANALYZE order_events;
