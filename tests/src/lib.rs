//! End-to-end tests against real components, as processes or containers.
