//! Kafka, the schema registry, Postgres and Redis on one machine, as private processes or containers.
