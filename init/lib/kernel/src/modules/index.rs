//! The index files that depmod(8) leaves beside the modules.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::pattern;

/// Debian's cloud kernel has 60 KiB of dependencies and 300 KiB of aliases, its full kernel
/// 600 KiB and 2.5 MiB.
const FILE_LIMIT: usize = 16 * 1024 * 1024;
/// Aliases are kept by their first bytes, so that a device is not held against all of them.
const BUCKET_LENGTH: usize = 3;

/// Which modules there are, what each needs, and what each is for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Path below the directory and the modules that must be there first, the first one first.
    modules: HashMap<String, (String, Vec<String>)>,
    built_in: HashSet<String>,
    /// Modules to load before and after one, where they exist.
    soft: HashMap<String, (Vec<String>, Vec<String>)>,
    aliases: HashMap<Vec<u8>, Vec<Alias>>,
    /// Those whose pattern starts with a wildcard.
    loose_aliases: Vec<Alias>,
}

/// Which list of a soft dependency a word belongs to.
enum Place {
    Nowhere,
    Before,
    After,
}

#[derive(Debug)]
struct Alias {
    pattern: String,
    module: String,
}

impl Index {
    /// Reads `modules.dep`, `modules.alias`, and where they exist `modules.softdep` and
    /// `modules.builtin` of a directory `/usr/lib/modules/<release>`.
    ///
    /// # Errors
    /// What the system says of the first two, `InvalidData` for files over 16 MiB.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let required = |name| {
            let bytes = files::read_bounded(directory.join(name), FILE_LIMIT)?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let optional = |name| match required(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        Ok(Self::parse(
            &required("modules.dep")?,
            &required("modules.alias")?,
            &optional("modules.softdep")?,
            &optional("modules.builtin")?,
        ))
    }

    fn parse(dependencies: &str, aliases: &str, soft: &str, built_in: &str) -> Self {
        let mut index = Self::default();
        for line in dependencies.lines() {
            let Some((path, needs)) = line.split_once(':') else {
                continue;
            };
            // modules.dep lists what must be loaded last first.
            let needs = needs.split_whitespace().rev().map(name_of_path).collect();
            index
                .modules
                .insert(name_of_path(path), (path.to_owned(), needs));
        }
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                index.add_alias(pattern, module);
            }
        }
        for line in soft.lines() {
            index.add_soft_dependency(line);
        }
        index.built_in = built_in.lines().map(name_of_path).collect();
        index
    }

    fn add_alias(&mut self, pattern: &str, module: &str) {
        let alias = Alias {
            pattern: pattern.to_owned(),
            module: normalize(module),
        };
        match pattern.as_bytes().get(..BUCKET_LENGTH) {
            Some(start) if !start.iter().any(|byte| b"*?[\\".contains(byte)) => {
                self.aliases.entry(start.to_vec()).or_default().push(alias);
            }
            _ => self.loose_aliases.push(alias),
        }
    }

    /// `softdep <module> pre: <modules> post: <modules>`, modprobe.d(5).
    fn add_soft_dependency(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else {
            return;
        };
        let (before, after) = self.soft.entry(normalize(module)).or_default();
        let mut list = Place::Nowhere;
        for word in words {
            match (word, &list) {
                ("pre:", _) => list = Place::Before,
                ("post:", _) => list = Place::After,
                (module, Place::Before) => before.push(normalize(module)),
                (module, Place::After) => after.push(normalize(module)),
                (_, Place::Nowhere) => {}
            }
        }
    }

    /// The modules that say they are for a device (or anything else) of this alias.
    pub(crate) fn modules_for<'a>(&'a self, alias: &'a str) -> impl Iterator<Item = &'a str> {
        let bucket = alias
            .as_bytes()
            .get(..BUCKET_LENGTH)
            .and_then(|key| self.aliases.get(key));
        bucket
            .into_iter()
            .flatten()
            .chain(&self.loose_aliases)
            .filter(|entry| pattern::matches(entry.pattern.as_bytes(), alias.as_bytes()))
            .map(|entry| entry.module.as_str())
    }

    /// A module's path below the directory, and what must be loaded before it.
    pub(crate) fn module(&self, name: &str) -> Option<(&str, &[String])> {
        self.modules
            .get(name)
            .map(|(path, needs)| (path.as_str(), needs.as_slice()))
    }

    /// The modules that a module would like to have loaded before and after it.
    pub(crate) fn soft_dependencies(&self, name: &str) -> (&[String], &[String]) {
        match self.soft.get(name) {
            Some((before, after)) => (before, after),
            None => (&[], &[]),
        }
    }

    /// Whether a module is part of the kernel's image.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains(name)
    }
}

/// The name that the kernel gives a module: dashes become underscores.
pub(crate) fn normalize(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of_path(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normalize(file.split_once(".ko").map_or(file, |(stem, _)| stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index::parse(
            "kernel/fs/erofs/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/lib/lz4.ko.xz\n\
             kernel/drivers/md/dm-mod.ko.xz:\n\
             kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-mod.ko.xz\nnonsense\n",
            "# Aliases\nalias virtio:d00000002v* virtio_blk\nalias acpi*:QEMU0002:* qemu_fw_cfg\n\
             alias *x any\nalias fs-erofs erofs\nalias broken\n",
            "# Soft dependencies\nsoftdep erofs pre: crc32c-intel lz4 post: zstd\nsoftdep x\n",
            "kernel/fs/ext4/ext4.ko\n",
        )
    }

    #[test]
    fn dependencies_come_first_one_first() {
        let index = index();
        let (path, needs) = index.module("erofs").unwrap();
        assert_eq!(path, "kernel/fs/erofs/erofs.ko.xz");
        assert_eq!(needs, ["lz4", "netfs"]);
        assert_eq!(index.module("dm_verity").unwrap().1, ["dm_mod"]);
        assert!(index.module("nonsense").is_none());
        assert!(index.is_built_in("ext4"));
        assert!(!index.is_built_in("erofs"));
    }

    #[test]
    fn aliases_are_found_by_pattern() {
        let index = index();
        let find = |alias: &str| {
            index
                .modules_for(alias)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(find("virtio:d00000002v00001AF4"), ["virtio_blk"]);
        assert_eq!(find("acpi:QEMU0002:"), ["qemu_fw_cfg"]);
        assert_eq!(find("fs-erofs"), ["erofs"]);
        assert_eq!(find("box"), ["any"]);
        assert_eq!(find("x"), ["any"]);
        assert_eq!(find("virtio:d00000009v00001AF4"), [""; 0]);
    }

    /// The aliases of Linux 6.12, and what machines show in /sys/devices.
    #[test]
    fn modules_for_reports_are_asked_for_by_the_machines_that_have_them() {
        let aliases = "alias virtio:d00000021v* nsm\n\
                       alias cpu:type:x86,ven*fam*mod*:feature:*0116* tdx_guest\n\
                       alias platform:sev-guest sev_guest\n";
        let index = Index::parse("", aliases, "", "");
        let cpu = "cpu:type:x86,ven0000fam0006mod00CF:feature:,0000,0001,0115";
        for (device, module) in [
            ("platform:sev-guest", Some("sev_guest")),
            ("platform:sev-guest2", None),
            ("virtio:d00000021v00001AF4", Some("nsm")),
            ("virtio:d00000002v00001AF4", None),
            (&format!("{cpu},0116,0117"), Some("tdx_guest")),
            (cpu, None),
        ] {
            assert_eq!(index.modules_for(device).next(), module, "{device}");
        }
    }

    #[test]
    fn soft_dependencies() {
        let index = index();
        let (before, after) = index.soft_dependencies("erofs");
        assert_eq!(before, ["crc32c_intel", "lz4"]);
        assert_eq!(after, ["zstd"]);
        assert_eq!(index.soft_dependencies("dm_mod"), (&[][..], &[][..]));
    }
}
