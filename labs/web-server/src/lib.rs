//! A web server that sleeps, four ways: sequential, fork, threads, a pool that grows and shrinks.
