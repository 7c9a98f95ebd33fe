//! A thread that writes lines, so that nobody waits for a slow console or disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::Level;

use super::file::{LogFile, MAXIMUM_FILE, line};
use super::kernel::KernelLog;
use super::{OWN_SOURCE, QueueSink, Record};

/// How many lines may wait for the thread.
const QUEUE_LENGTH: usize = 1024;
/// How many bytes of lines are kept for the file until there is a place for it.
const EARLY_BYTES: usize = 256 * 1024;
/// How long lines may stay out of the disk.
const SYNC_AFTER: Duration = Duration::from_secs(5);

/// What the thread is told.
enum Message {
    Record(Record),
    /// Keep the log in this file too, beginning with what was said before.
    Open(PathBuf),
    /// Let go of the file, so that its disk can be unmounted, then answer.
    Close(SyncSender<()>),
}

/// The way to the thread. Never blocks, but for [`LogQueue::close`].
#[derive(Debug)]
pub struct LogQueue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl LogQueue {
    /// Takes a line; when too many wait, the line is dropped and counted.
    pub fn push(&self, record: Record) {
        if self.sender.try_send(Message::Record(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks for a file; `false` when too much waits just now: ask again.
    #[must_use]
    pub fn open(&self, path: &Path) -> bool {
        !matches!(
            self.sender.try_send(Message::Open(path.to_owned())),
            Err(TrySendError::Full(_))
        )
    }

    /// Waits until every line so far is written and the file is closed, at most for `limit`, and
    /// says whether that came about.
    pub fn close(&self, limit: Duration) -> bool {
        const PAUSE: Duration = Duration::from_millis(10);
        let (answer, done) = sync_channel(1);
        let mut message = Message::Close(answer);
        let mut left = limit;
        loop {
            match self.sender.try_send(message) {
                Ok(()) => return done.recv_timeout(left).is_ok(),
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => message = back,
            }
            if left.is_zero() {
                return false;
            }
            thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
    }
}

/// Starts the thread and sends this program's lines to it, from now on and for good.
///
/// # Errors
/// When there can be no thread.
pub fn start() -> std::io::Result<Arc<LogQueue>> {
    let (sender, receiver) = sync_channel(QUEUE_LENGTH);
    let dropped = Arc::new(AtomicU64::new(0));
    let mut writer = Writer::new(Arc::clone(&dropped), KernelLog::default());
    sys::thread::spawn_without_signals("log", move || {
        // A panic has its words in the kernel's log already; the lines go on.
        while catch_unwind(AssertUnwindSafe(|| writer.run(&receiver))).is_err() {}
    })?;
    let queue = Arc::new(LogQueue { sender, dropped });
    super::install(QueueSink(Arc::clone(&queue)));
    Ok(queue)
}

struct Writer {
    dropped: Arc<AtomicU64>,
    kernel: KernelLog,
    file: Option<LogFile>,
    early: EarlyLines,
    unsynced: bool,
    /// Whether the file's last error was told: it is not told again before a line gets through.
    told: bool,
}

impl Writer {
    fn new(dropped: Arc<AtomicU64>, kernel: KernelLog) -> Self {
        Self {
            dropped,
            kernel,
            file: None,
            early: EarlyLines::default(),
            unsynced: false,
            told: false,
        }
    }

    /// Until the last sender is gone.
    fn run(&mut self, receiver: &Receiver<Message>) {
        loop {
            let message = if self.unsynced {
                receiver.recv_timeout(SYNC_AFTER)
            } else {
                receiver.recv().map_err(RecvTimeoutError::from)
            };
            match message {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.dropped.swap(0, Ordering::Relaxed) {
                0 => {}
                dropped => self.say(Level::WARN, format!("{dropped} lines of the log were lost")),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Record(record) => self.record(&record),
            Message::Open(path) => self.open(&path),
            Message::Close(answer) => {
                self.sync();
                self.file = None;
                // whoever asked may have given up waiting
                let _ = answer.try_send(());
            }
        }
    }

    fn record(&mut self, record: &Record) {
        if record.console {
            self.kernel.write(record);
        }
        self.keep(&line(record, SystemTime::now()));
    }

    fn keep(&mut self, line: &str) {
        let Some(file) = &mut self.file else {
            self.early.push(line);
            return;
        };
        match file.write(line) {
            Ok(()) => {
                self.unsynced = true;
                self.told = false;
            }
            Err(error) if !self.told => {
                self.told = true;
                self.complain(format!("the log's file can't be written: {error}"));
            }
            Err(_) => {}
        }
    }

    fn open(&mut self, path: &Path) {
        match LogFile::open(path, MAXIMUM_FILE) {
            Ok(file) => {
                self.file = Some(file);
                for line in self.early.take() {
                    self.keep(&line);
                }
            }
            Err(error) => self.complain(format!("the log's file can't be opened: {error}")),
        }
    }

    fn sync(&mut self) {
        self.unsynced = false;
        if let Some(Err(error)) = self.file.as_ref().map(LogFile::sync) {
            self.complain(format!("the log's file can't be synced: {error}"));
        }
    }

    fn say(&mut self, level: Level, text: String) {
        self.record(&own(level, text));
    }

    /// What is wrong with the file goes to the kernel's log alone.
    fn complain(&self, text: String) {
        self.kernel.write(&own(Level::WARN, text));
    }
}

fn own(level: Level, text: String) -> Record {
    Record {
        at: crate::timeline::now(),
        level,
        source: OWN_SOURCE,
        text,
        console: true,
    }
}

/// Lines from before there is a file: the newest ones, up to [`EARLY_BYTES`].
#[derive(Default)]
struct EarlyLines {
    lines: VecDeque<String>,
    bytes: usize,
    lost: u64,
}

impl EarlyLines {
    fn push(&mut self, line: &str) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line.to_owned());
        while self.bytes > EARLY_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(oldest.len());
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn take(&mut self) -> Vec<String> {
        let taken = std::mem::take(self);
        let mut lines: Vec<String> = taken.lines.into();
        if taken.lost > 0 {
            let text = format!("{} earlier lines are not in this file", taken.lost);
            lines.insert(0, line(&own(Level::WARN, text), SystemTime::now()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        Record {
            at: Duration::ZERO,
            level: Level::INFO,
            source: "netd",
            text: text.to_owned(),
            console: false,
        }
    }

    fn texts(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| line.split(' ').skip(4).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn early_lines_come_first_and_closing_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let (sender, receiver) = sync_channel(8);
        let (answer, done) = sync_channel(1);
        for message in [
            Message::Record(record("early")),
            Message::Open(path.clone()),
            Message::Record(record("late")),
            Message::Close(answer),
            Message::Record(record("after the end")),
        ] {
            sender.try_send(message).ok().unwrap();
        }
        drop(sender);
        let dropped = Arc::new(AtomicU64::new(3));
        let mut writer = Writer::new(dropped, KernelLog::at("/dev/null"));
        writer.run(&receiver);
        done.try_recv().unwrap();
        assert!(writer.file.is_none());
        assert_eq!(
            texts(&path),
            ["early", "3 lines of the log were lost", "late"]
        );
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (sender, _receiver) = sync_channel(2);
        let queue = LogQueue {
            sender,
            dropped: Arc::new(AtomicU64::new(0)),
        };
        for _ in 0..5 {
            queue.push(record("x"));
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 3);
        assert!(!queue.open(Path::new("/nowhere")));
        assert!(!queue.close(Duration::ZERO));
    }

    #[test]
    fn early_lines_are_bounded_and_the_newest_stay() {
        let mut early = EarlyLines::default();
        let text = "x".repeat(EARLY_BYTES / 4);
        for number in 0..10 {
            early.push(&format!("{number}{text}"));
        }
        let lines = early.take();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("7 earlier lines are not in this file"));
        assert!(lines[1].starts_with('7') && lines[3].starts_with('9'));
        assert!(early.take().is_empty());
    }

    #[test]
    fn a_file_that_can_t_be_does_no_harm() {
        let mut writer = Writer::new(Arc::new(AtomicU64::new(0)), KernelLog::at("/dev/null"));
        writer.open(Path::new("/proc/no/such/file"));
        writer.record(&record("kept"));
        assert_eq!(writer.early.take().len(), 1);
    }
}
