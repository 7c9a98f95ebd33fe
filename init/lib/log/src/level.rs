//! The level that a program's line begins with, in the formats of the programs that run here.

use tracing::Level;

/// Splits a line of a program into its level and its text.
///
/// Known are our own programs' form (`LEVEL text`), logrus's (`time="…" level=… text`: containerd
/// and k3s) and klog's (`I0102 15:04:05.000000   123 file.go:1] text`: Kubernetes). The time is left
/// out, since init adds its own. A line of another form is a line of level INFO.
pub fn parse(line: &str) -> (Level, &str) {
    let line = line.trim_start();
    own(line)
        .or_else(|| logrus(line))
        .or_else(|| klog(line))
        .or_else(|| panic(line))
        .unwrap_or((Level::INFO, line))
}

fn own(line: &str) -> Option<(Level, &str)> {
    let (word, text) = line.split_once(' ').unwrap_or((line, ""));
    let level = match word {
        "ERROR" => Level::ERROR,
        "WARN" => Level::WARN,
        "INFO" => Level::INFO,
        "DEBUG" => Level::DEBUG,
        "TRACE" => Level::TRACE,
        _ => return None,
    };
    Some((level, text.trim_start()))
}

fn logrus(line: &str) -> Option<(Level, &str)> {
    let line = match line.strip_prefix("time=\"") {
        Some(timed) => timed.split_once("\" ")?.1,
        None => line,
    };
    let (word, text) = line.strip_prefix("level=")?.split_once(' ')?;
    let level = match word {
        "panic" | "fatal" | "error" => Level::ERROR,
        "warning" | "warn" => Level::WARN,
        "info" => Level::INFO,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        _ => return None,
    };
    Some((level, text))
}

fn klog(line: &str) -> Option<(Level, &str)> {
    let mut characters = line.chars();
    let level = match characters.next()? {
        'F' | 'E' => Level::ERROR,
        'W' => Level::WARN,
        'I' => Level::INFO,
        _ => return None,
    };
    let (day, rest) = characters.as_str().split_once(' ')?;
    if day.len() != 4 || !day.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // the time, then the thread's number
    let (_, rest) = rest.split_once(' ')?;
    let (_, text) = rest.trim_start().split_once(' ')?;
    Some((level, text))
}

/// The last words of a program in Rust or in Go.
fn panic(line: &str) -> Option<(Level, &str)> {
    let rust = line.starts_with("thread '") && line.contains("panicked at");
    let go = line.starts_with("panic: ") || line.starts_with("fatal error: ");
    (rust || go).then_some((Level::ERROR, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_are_known() {
        for (line, level, text) in [
            ("ERROR it broke why=x", Level::ERROR, "it broke why=x"),
            (" INFO fine", Level::INFO, "fine"),
            ("WARN", Level::WARN, ""),
            (
                "time=\"2026-01-02T03:04:05.6Z\" level=warning msg=\"cni: no network\" x=1",
                Level::WARN,
                "msg=\"cni: no network\" x=1",
            ),
            ("level=fatal msg=x", Level::ERROR, "msg=x"),
            (
                "thread 'main' (269) panicked at src/main.rs:31:61:",
                Level::ERROR,
                "thread 'main' (269) panicked at src/main.rs:31:61:",
            ),
            ("panic: x", Level::ERROR, "panic: x"),
            (
                "E0102 03:04:05.678901    1234 kubelet.go:12] \"Failed\" err=\"x\"",
                Level::ERROR,
                "kubelet.go:12] \"Failed\" err=\"x\"",
            ),
        ] {
            assert_eq!(parse(line), (level, text), "{line}");
        }
    }

    #[test]
    fn any_other_line_is_information_and_whole() {
        for line in [
            "",
            "hello",
            "INFORMATION",
            "Error: no such file",
            "time=\"unfinished",
            "level=loud msg=x",
            "I am not klog",
            "E01",
            "W1234 ",
        ] {
            assert_eq!(parse(line), (Level::INFO, line), "{line}");
        }
    }
}
