-- When a generation has been filled: of the changes of sales, sums. Whoever writes sales sees by the key which of them they are,
-- so both come in one transaction.
DO $$ BEGIN
    IF to_regclass('sales_by_key') IS NULL THEN
        CREATE TABLE sums (LIKE sales INCLUDING ALL);
        INSERT INTO sums (partition, day, sku, currency, quantity, revenue_minor)
            SELECT partition, day, sku, currency, sum(quantity), sum(revenue_minor)
            FROM sales GROUP BY day, sku, currency, partition ORDER BY day, sku, currency, partition;
        DROP TABLE sales;
        ALTER TABLE sums RENAME TO sales;
        CREATE UNIQUE INDEX sales_by_key ON sales (day, sku, currency, partition);
    END IF;
END $$;
