-- When a generation has been filled: of the changes of sales, sums. Whoever writes sales sees by the key which of them they are,
-- so both come in one transaction.
DO $$ BEGIN
    IF to_regclass('sales_by_key') IS NULL THEN
        CREATE TEMPORARY TABLE sums ON COMMIT DROP AS
            SELECT partition, day, sku, currency, sum(quantity) AS quantity, sum(revenue_minor) AS revenue_minor
            FROM sales GROUP BY partition, day, sku, currency;
        TRUNCATE sales;
        INSERT INTO sales SELECT * FROM sums ORDER BY day, sku, currency, partition;
        CREATE UNIQUE INDEX sales_by_key ON sales (day, sku, currency, partition);
    END IF;
END $$;
