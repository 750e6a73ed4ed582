-- The tables of a generation, in its own schema, which is first in the search path. Whoever changes anything here raises
-- `MODEL_VERSION`: old generations keep the tables that they have.

-- How far the rows of the other tables have come, for each partition: changed in the transaction that changes the rows.
CREATE TABLE checkpoints (
    topic       smallint NOT NULL,
    partition   integer  NOT NULL,
    next_offset bigint   NOT NULL,
    last_offset bigint   NOT NULL,
    link        bytea    NOT NULL,
    PRIMARY KEY (topic, partition)
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

CREATE TABLE stock (
    sku       text    COLLATE "C" PRIMARY KEY,
    partition integer NOT NULL,
    on_hand   bigint  NOT NULL,
    reserved  bigint  NOT NULL,
    sequence  bigint  NOT NULL,
    causes    text    COLLATE "C" NOT NULL
) WITH (fillfactor = 50);

-- Every effective event of an order, refusals and barriers left out. sequence is that of the order's view after it.
-- data is the record as JSON without occurred_at, as text, since jsonb has no room for \u0000.
CREATE TABLE order_events (
    partition      integer NOT NULL,
    "offset"       bigint  NOT NULL,
    order_id       uuid    NOT NULL,
    sequence       bigint  NOT NULL,
    type           text    COLLATE "C" NOT NULL,
    occurred_at_us bigint  NOT NULL,
    command_id     uuid    NOT NULL,
    causes         text    COLLATE "C" NOT NULL,
    data           text    COLLATE "C" NOT NULL
);

-- What was sold, by the UTC day on which the order was placed (days since 1970-01-01). The partition is that of the orders,
-- so that one can be forgotten without the others, and so that no two projectors meet on a row.
-- numeric, since no sum of 64-bit numbers may ever stop the projector.
-- While the generation is being filled there is no key, and a row for each change; `sums.sql` makes sums of them.
CREATE TABLE sales (
    partition     integer NOT NULL,
    day           integer NOT NULL,
    sku           text    COLLATE "C" NOT NULL,
    currency      text    COLLATE "C" NOT NULL,
    quantity      numeric NOT NULL,
    revenue_minor numeric NOT NULL
) WITH (fillfactor = 50);
