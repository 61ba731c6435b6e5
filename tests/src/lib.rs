//! Integration tests of Sidegate; everything is under `it/`.
