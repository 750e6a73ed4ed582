//! Load generator, real orders and the demonstration.
