//! The name servers' file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;

/// `MAXNS` of resolv.conf(5): resolvers ignore what comes after.
const MAXIMUM_SERVERS: usize = 3;

/// The file's text: the configured servers first, then those of the network.
fn text(configured: &[Ipv4Addr], offered: &[Ipv4Addr]) -> String {
    let mut servers: Vec<Ipv4Addr> = Vec::new();
    for server in configured.iter().chain(offered) {
        if !servers.contains(server) && servers.len() < MAXIMUM_SERVERS {
            servers.push(*server);
        }
    }
    servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect()
}

/// Writes the file whole or not at all.
pub(crate) fn write(path: &Path, configured: &[Ipv4Addr], offered: &[Ipv4Addr]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text(configured, offered).as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_servers_come_first_and_three_are_enough() {
        let server = |last| Ipv4Addr::new(192, 0, 2, last);
        let shown = text(&[server(1)], &[server(2), server(1), server(3), server(4)]);
        assert_eq!(
            shown,
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
        );
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        write(&path, &[], &[Ipv4Addr::new(192, 0, 2, 1)]).expect("written");
        write(&path, &[Ipv4Addr::new(192, 0, 2, 2)], &[]).expect("written");
        assert_eq!(
            fs::read_to_string(&path).expect("there"),
            "nameserver 192.0.2.2\n"
        );
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
    }
}
