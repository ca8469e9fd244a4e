//! A prefork server, and who wakes up when one connection arrives.
