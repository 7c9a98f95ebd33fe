//! Linux system interfaces: every unsafe line of the project.

mod init_connection;

pub use init_connection::InitConnection;
