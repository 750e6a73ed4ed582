//! The shop: orders and stock, decided and folded by pure functions.
