-- The read models, version 1, and what they were made from.

-- Which log this database belongs to, so that a query service can start while Kafka is down. One row.
CREATE TABLE deployment (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    log_id     bytea   NOT NULL,
    partitions integer NOT NULL
);

-- How far the rows below have come, for each partition: changed in the transaction that changes the rows.
CREATE TABLE checkpoints (
    model_version integer  NOT NULL,
    topic         smallint NOT NULL,
    partition     integer  NOT NULL,
    next_offset   bigint   NOT NULL,
    last_offset   bigint   NOT NULL,
    link          bytea    NOT NULL,
    PRIMARY KEY (model_version, topic, partition)
) WITH (fillfactor = 50);

-- doc and notes are JSON as text, not jsonb: they go out byte for byte, and jsonb has no room for \u0000.
-- Nothing that changes is in an index, so that updates stay on their page (HOT); hence the fill factor.
CREATE TABLE orders (
    order_id     uuid    PRIMARY KEY,
    partition    integer NOT NULL,
    customer_id  text    COLLATE "C" NOT NULL,
    placed_at_us bigint  NOT NULL,
    status       text    COLLATE "C" NOT NULL,
    sequence     bigint  NOT NULL,
    causes       text    COLLATE "C" NOT NULL,
    doc          text    COLLATE "C" NOT NULL,
    notes        text    COLLATE "C" NOT NULL
) WITH (fillfactor = 75);

CREATE INDEX orders_by_customer ON orders (customer_id, placed_at_us, order_id);

CREATE TABLE stock (
    sku       text    COLLATE "C" PRIMARY KEY,
    partition integer NOT NULL,
    on_hand   bigint  NOT NULL,
    reserved  bigint  NOT NULL,
    sequence  bigint  NOT NULL,
    causes    text    COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
