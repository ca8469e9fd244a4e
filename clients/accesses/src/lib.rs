//! N simultaneous HTTP GETs: each one's time, the total, how many failed.
