//! The name servers' file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// `MAXNS` of resolv.conf(5): resolvers ignore what comes after.
const MAXIMUM_SERVERS: usize = 3;
/// The most search domains: more than six and 256 characters older resolvers refuse.
const MAXIMUM_DOMAINS: usize = 6;

/// The file's text: name servers in their order, then the domains in which names are looked for.
fn text(servers: &[String], search: &[String]) -> String {
    let servers = servers.iter().take(MAXIMUM_SERVERS);
    let mut text: String = servers
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    let search: Vec<&str> = search
        .iter()
        .take(MAXIMUM_DOMAINS)
        .map(String::as_str)
        .collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    text
}

/// Writes the file whole or not at all, where it is to change.
pub(crate) fn write(path: &Path, servers: &[String], search: &[String]) -> io::Result<()> {
    let text = text(servers, search);
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(list: &[&str]) -> Vec<String> {
        list.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn three_servers_and_the_domains_are_enough() {
        let servers = all(&["192.0.2.1", "2001:db8::53", "fe80::1%eth0", "192.0.2.4"]);
        assert_eq!(
            text(&servers, &all(&["example.org", "example.net"])),
            "nameserver 192.0.2.1\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\nsearch example.org example.net\n"
        );
        assert_eq!(text(&[], &[]), "");
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        write(&path, &all(&["192.0.2.1"]), &[]).expect("written");
        write(&path, &all(&["192.0.2.2"]), &[]).expect("written");
        assert_eq!(
            fs::read_to_string(&path).expect("there"),
            "nameserver 192.0.2.2\n"
        );
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
    }
}
