-- The indexes that only reads need: made when a generation has been filled, since a table is filled faster without them.
-- Each can be made again after an interruption.

CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer_id, placed_at_us, order_id);

CREATE INDEX IF NOT EXISTS sales_by_sku ON sales (sku, day);

-- Without statistics the first reads would go all the way through the tables.
ANALYZE checkpoints, orders, stock, sales;
