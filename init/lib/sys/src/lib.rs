//! Linux system interfaces: every unsafe line of the project.

pub mod block;
pub mod capability;
pub mod device_mapper;
pub mod devices;
mod init_connection;
pub mod keyring;
pub mod memory;
pub mod namespaces;
pub mod nitro_security_module;
mod notifier;
pub mod packet;
pub mod process;
pub mod signals;
pub mod system_calls;
pub mod thread;

pub use init_connection::InitConnection;
pub use notifier::Notifier;
