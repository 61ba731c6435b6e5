//! dev.

fn main() {}
