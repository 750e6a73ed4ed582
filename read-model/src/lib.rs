//! The read models: views, their Postgres tables and SQL, their Redis keys and scripts.
