//! Where lines go: the kernel's log (and with it the console), and a file on the state disk.
//!
//! Everybody in this crate logs through `tracing`'s macros; how the program was started decides
//! where that leads: [`to_kernel`] in the initramfs, [`to_parent`] in a task, [`start`] on the root.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod file;
mod format;
mod kernel;
mod level;
mod lines;
mod rate;
mod repeats;
pub mod timeline;
mod writer;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Level, Metadata, Subscriber};

pub use format::visible;
pub use kernel::emergency;
pub use level::parse as parse_level;
pub use lines::LineSplitter;
pub use rate::{RateLimit, Verdict};
pub use repeats::{Counted, Repeats};
pub use wire::error::chain;
pub use writer::{LogQueue, start};

/// The source of what this program says itself.
pub const OWN_SOURCE: &str = "init";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Since the kernel started.
    pub at: Duration,
    /// How bad it is.
    pub level: Level,
    /// The program that says it.
    pub source: &'static str,
    /// The message and its fields, on one line.
    pub text: String,
    /// Whether it goes to the kernel's log too, or to the file alone.
    pub console: bool,
}

/// Something that takes lines and never waits long.
trait Sink: Send + Sync + 'static {
    fn write(&self, record: Record);
}

/// Turns `tracing`'s events into lines. Spans are not used in this crate.
struct Logger<S>(S);

impl<S: Sink> Subscriber for Logger<S> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let at = timeline::now();
        for line in format::event(event).lines() {
            self.0.write(Record {
                at,
                level: *event.metadata().level(),
                source: OWN_SOURCE,
                text: visible(line),
                console: true,
            });
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Straight into the kernel's log: for the initramfs, where there is no other place.
struct KernelSink(kernel::KernelLog);

impl Sink for KernelSink {
    fn write(&self, record: Record) {
        self.0.write(&record);
    }
}

/// To standard error, which PID 1 reads: it adds time and source.
struct ParentSink;

impl Sink for ParentSink {
    fn write(&self, record: Record) {
        // Whoever can't write to standard error has nobody left to tell.
        let _ = writeln!(io::stderr(), "{} {}", record.level, record.text);
    }
}

/// Into the queue of the writer's thread.
struct QueueSink(Arc<LogQueue>);

impl Sink for QueueSink {
    fn write(&self, record: Record) {
        self.0.push(record);
    }
}

/// Sends this program's lines straight into the kernel's log, from now on and for good.
pub fn to_kernel() {
    install(KernelSink(kernel::KernelLog::default()));
}

/// Sends this program's lines to standard error, from now on and for good.
pub fn to_parent() {
    install(ParentSink);
}

fn install(sink: impl Sink) {
    // It fails only when there is one already, which then goes on.
    let _ = tracing::subscriber::set_global_default(Logger(sink));
}
