//! The harness: it owns QEMU, a machine's disk and console, and a devnet (the doubles and the master)
//! on this host's loopback, and runs nodes on them for people (`run`, `slash`) and for tests
//! (`test`).

pub mod cli;
pub mod devnet;
pub mod disk;
pub mod http;
pub mod interceptor;
pub mod lab;
pub mod log;
pub mod measured;
pub mod node;
pub mod process;
pub mod program;
pub mod qemu;
pub mod reset;
pub mod run;
pub mod runner;
pub mod scenarios;
pub mod stops;
pub mod terminal;
pub mod time_server;
pub mod timeline;
pub mod tpm;
