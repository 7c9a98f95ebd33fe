//! Checks that every program of a tree finds its interpreter and its libraries inside that tree.

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;

use crate::tree::{Content, Kind, Tree};

/// Where glibc's linker looks without a cache (ld.so(8)), Debian's multi-arch directory included.
const LIBRARY_DIRECTORIES: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib/x86_64-linux-gnu",
];

/// What a program needs to run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
    search: Vec<String>,
}

/// Checks all ELF files and scripts of the tree.
///
/// # Errors
/// Names every file that lacks something, with what it lacks and where that was looked for.
pub fn check_closure(tree: &Tree) -> Result<()> {
    let mut missing = Vec::new();
    for (path, entry) in tree.iter() {
        let Kind::File(content) = &entry.kind else {
            continue;
        };
        if !path.starts_with("usr/") || path.starts_with("usr/lib/modules/") {
            continue;
        }
        let Some(needs) =
            needs(content).with_context(|| format!("{path} of {} is malformed", entry.origin))?
        else {
            continue;
        };
        if let Some(interpreter) = &needs.interpreter
            && tree.resolve(interpreter.trim_start_matches('/')).is_none()
        {
            missing.push(format!(
                "{path} ({}) needs the interpreter {interpreter}",
                entry.origin
            ));
        }
        let directory = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let search: Vec<String> = needs
            .search
            .iter()
            .map(|own| {
                own.replace("${ORIGIN}", directory)
                    .replace("$ORIGIN", directory)
                    .trim_matches('/')
                    .to_owned()
            })
            .chain(LIBRARY_DIRECTORIES.map(str::to_owned))
            .collect();
        for library in &needs.libraries {
            if !search
                .iter()
                .any(|directory| tree.resolve(&format!("{directory}/{library}")).is_some())
            {
                missing.push(format!(
                    "{path} ({}) needs the library {library}",
                    entry.origin
                ));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the image lacks what its programs need; add the package that has it to packages.toml:\n  {}",
        missing.join("\n  ")
    )
}

/// Checks that a program of ours is a static program for the image's architecture.
///
/// # Errors
/// When it is something else.
pub fn check_static(name: &str, program: &[u8]) -> Result<()> {
    let elf = check_program(name, program)?;
    if elf.interpreter.is_some() || !elf.libraries.is_empty() {
        bail!(
            "{name} is linked dynamically; build it for x86_64-unknown-linux-gnu with +crt-static"
        );
    }
    Ok(())
}

/// Checks that a program is built for the image's architecture.
///
/// # Errors
/// When it is something else.
pub fn check_program<'a>(name: &str, program: &'a [u8]) -> Result<Elf<'a>> {
    let elf = Elf::parse(program).with_context(|| format!("{name} is not an ELF program"))?;
    if elf.header.e_machine != goblin::elf::header::EM_X86_64 {
        bail!("{name} is not built for x86-64");
    }
    Ok(elf)
}

/// `None`: neither an ELF file nor a script.
fn needs(content: &Content) -> Result<Option<Needs>> {
    let mut head = [0; 4];
    let bytes = match content {
        Content::Bytes(bytes) => bytes.clone(),
        Content::Path(path) => {
            use std::io::Read as _;
            let file = std::fs::File::open(path)
                .with_context(|| format!("can't open {}", path.display()))?;
            let length = file.take(4).read(&mut head)?;
            if length < 4 || !(head == *b"\x7fELF" || head.starts_with(b"#!")) {
                return Ok(None);
            }
            content.read()?
        }
    };
    if let Some(script) = bytes.strip_prefix(b"#!") {
        let line = script
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = std::str::from_utf8(line).context("its first line is not UTF-8")?;
        let interpreter = line.split_whitespace().next().map(str::to_owned);
        return Ok(Some(Needs {
            interpreter,
            ..Needs::default()
        }));
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let elf = Elf::parse(&bytes)?;
    let search = elf
        .runpaths
        .iter()
        .chain(&elf.rpaths)
        .flat_map(|paths| paths.split(':'))
        .map(str::to_owned);
    Ok(Some(Needs {
        interpreter: elf.interpreter.map(str::to_owned),
        libraries: elf
            .libraries
            .iter()
            .map(|library| (*library).to_owned())
            .collect(),
        search: search.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_its_interpreter() {
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("usr/bin/a", 0o755, "#!/bin/sh -e\n", "test")
            .unwrap();
        let error = check_closure(&tree).unwrap_err().to_string();
        assert!(
            error.contains("usr/bin/a (test) needs the interpreter /bin/sh"),
            "{error}"
        );
        tree.symlink("usr/bin/sh", "dash", "test").unwrap();
        assert!(
            check_closure(&tree).is_err(),
            "a dangling link is no interpreter"
        );
        tree.bytes("usr/bin/dash", 0o755, "", "test").unwrap();
        check_closure(&tree).unwrap();
    }

    #[test]
    fn a_program_needs_its_libraries() {
        // the smallest dynamic program at hand: this host's own
        let Ok(program) = std::fs::read("/bin/true") else {
            return;
        };
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("usr/bin/true", 0o755, program.clone(), "test")
            .unwrap();
        let error = check_closure(&tree).unwrap_err().to_string();
        assert!(
            error.contains("library libc.so.6") && error.contains("interpreter"),
            "{error}"
        );
        assert!(check_static("true", &program).is_err());
        assert!(check_static("junk", b"junk").is_err());
    }
}
