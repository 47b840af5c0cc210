//! Tests of the wire as a whole; what concerns one file alone is tested beside it.
