//! Kernel modules: which one a device asks for, and loading it.
//!
//! The files that depmod(8) writes are read as modprobe(8) does (modules.dep(5)); the kernel
//! decompresses and checks the modules itself.

mod index;
mod loader;
mod pattern;
mod worker;

pub use loader::{LoadError, Loader, device_aliases};
pub use worker::ModuleLoader;
