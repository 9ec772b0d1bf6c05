//! Windtunnel.
fn main() {}
