//! The kernel's command line, which in a release stands in the signed kernel image.

use std::io;

const FILE: &str = "/proc/cmdline";
/// `COMMAND_LINE_SIZE` is 2048 bytes on x86 and arm64 (arch/*/include/asm/setup.h); a boot
/// configuration can add to that.
const FILE_LIMIT: usize = 16 * 1024;

/// The words of a kernel command line, quotes resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<String>,
}

/// A word was given twice with different values, so that which one counts would be a guess.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}=` stands on the kernel command line more than once, with different values")]
pub struct Ambiguous {
    key: String,
}

impl CommandLine {
    /// Reads `/proc/cmdline`.
    ///
    /// # Errors
    /// What the system says, `InvalidData` for more than 16 KiB or no UTF-8.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&files::read_text(FILE, FILE_LIMIT)?))
    }

    /// Splits at white space outside double quotes, as the kernel does (`next_arg`,
    /// lib/cmdline.c). Words after `--` are arguments for init, not parameters.
    pub fn parse(text: &str) -> Self {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        for character in text.chars().chain([' ']) {
            match character {
                '"' => quoted = !quoted,
                _ if character.is_whitespace() && !quoted => {
                    if word == "--" {
                        break;
                    }
                    if !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                }
                _ => word.push(character),
            }
        }
        if !word.trim().is_empty() && quoted {
            words.push(word.trim_end().to_owned());
        }
        Self { words }
    }

    /// Whether a word stands there as it is.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|given| given == word)
    }

    /// The value of `key=value`; `None` when it is not given.
    ///
    /// # Errors
    /// [`Ambiguous`] when it is given with two different values.
    pub fn value(&self, key: &str) -> Result<Option<&str>, Ambiguous> {
        let mut found = None;
        for word in &self.words {
            let Some(value) = word
                .strip_prefix(key)
                .and_then(|rest| rest.strip_prefix('='))
            else {
                continue;
            };
            if found.is_some_and(|earlier| earlier != value) {
                return Err(Ambiguous {
                    key: key.to_owned(),
                });
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// What is given as `<module>.<parameter>` for a module, as the kernel itself reads it for
    /// drivers that are built in: the parameters separated by blanks. Dashes and underscores in
    /// the module's name are the same.
    pub fn module_parameters(&self, module: &str) -> String {
        let mut parameters = Vec::new();
        for word in &self.words {
            let Some((name, parameter)) = word.split_once('.') else {
                continue;
            };
            if name.contains('=') || name.replace('-', "_") != module {
                continue;
            }
            match parameter.split_once('=') {
                // The kernel splits the parameters at blanks again.
                Some((key, value)) if value.contains(char::is_whitespace) => {
                    parameters.push(format!("{key}=\"{value}\""));
                }
                _ => parameters.push(parameter.to_owned()),
            }
        }
        parameters.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        let line = CommandLine::parse("quiet  a=1 b=\"two words\" \"c=3 4\" -- d=5\n");
        assert_eq!(line.words, ["quiet", "a=1", "b=two words", "c=3 4"]);
        assert_eq!(CommandLine::parse("a \"b c").words, ["a", "b c"]);
        assert_eq!(CommandLine::parse("").words, [""; 0]);
    }

    #[test]
    fn a_value_given_twice_is_ambiguous_unless_the_same() {
        let line = CommandLine::parse("roothash=ab console=tty0 console=ttyS0 roothash=ab");
        assert_eq!(line.value("roothash"), Ok(Some("ab")));
        assert!(line.value("console").is_err());
        assert_eq!(line.value("root"), Ok(None));
    }

    #[test]
    fn a_word_is_there_as_it_is_or_not_at_all() {
        let line = CommandLine::parse("quiet daas.reset x=daas.other -- daas.late");
        assert!(line.has("daas.reset"));
        for word in ["daas", "daas.other", "daas.late", "daas.reset=1"] {
            assert!(!line.has(word), "{word}");
        }
        assert!(!CommandLine::parse("daas.reset=0 daas.resets").has("daas.reset"));
    }

    #[test]
    fn module_parameters_are_collected() {
        let line =
            CommandLine::parse("dm-verity.require=1 dm_verity.b=\"x y\" other.c=2 x=dm_verity.d");
        assert_eq!(line.module_parameters("dm_verity"), "require=1 b=\"x y\"");
        assert_eq!(line.module_parameters("loop"), "");
    }
}
