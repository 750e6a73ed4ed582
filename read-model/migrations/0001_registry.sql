-- What every generation of the read model shares. The model itself is in schemas of its own, one for each generation:
-- `read-model/generation/`.

-- Which log this database belongs to, so that a query service can start while Kafka is down. One row.
CREATE TABLE deployment (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    log_id     bytea   NOT NULL,
    partitions integer NOT NULL
);

-- The generations: each is a whole model with checkpoints of its own, in the schema g<generation>. Numbers are never used again.
CREATE TABLE generations (
    generation    integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- That of the code that fills it; no other code writes or reads it.
    model_version integer     NOT NULL,
    state         text        NOT NULL CHECK (state IN ('filling', 'ready', 'live', 'kept')),
    made_at       timestamptz NOT NULL DEFAULT now()
);

-- What is read is one generation for each version: reads look here, in the statement that reads the model.
CREATE UNIQUE INDEX one_is_live ON generations (model_version) WHERE state = 'live';
