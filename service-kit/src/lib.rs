//! What every service shares: configuration, telemetry, shutdown, health, problem+json, HTTP headers.
