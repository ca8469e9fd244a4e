//! One connection, one message; or a row of them.
