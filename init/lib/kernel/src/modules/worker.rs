//! The thread that loads modules, so that PID 1's loop never waits for a driver's probe.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::Loader;
use crate::uevent::Uevent;

/// Aliases that may wait. Beyond that the thread looks at all devices again instead.
const QUEUE_LENGTH: usize = 256;

/// The loop's handle on the thread.
#[derive(Debug)]
pub struct ModuleLoader {
    queue: SyncSender<Request>,
    rescan: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Request {
    Alias(String),
    /// Look whether `rescan` is set.
    Wake,
}

impl ModuleLoader {
    /// Starts the thread. It loads `first`, calls `then`, loads the modules for every device that
    /// is there, and goes on with what the loop hands it. What can't be loaded is logged: a node
    /// that starts and says what it lacks is worth more than one that does not start.
    ///
    /// # Errors
    /// What the system says when it can't start a thread.
    pub fn start(first: &'static [&'static str], then: fn()) -> io::Result<Self> {
        let (queue, requests) = sync_channel(QUEUE_LENGTH);
        let rescan = Arc::new(AtomicBool::new(true));
        let seen_by_thread = Arc::clone(&rescan);
        sys::thread::spawn_without_signals("modules", move || match Loader::open() {
            Ok(mut loader) => {
                load_first(&mut loader, first);
                then();
                run(loader, &requests, &seen_by_thread);
            }
            Err(error) => tracing::error!("no modules are loaded: {}", log::chain(&error)),
        })?;
        let handle = Self { queue, rescan };
        handle.send(Request::Wake);
        Ok(handle)
    }

    /// Loads what a device that came asks for. Returns at once.
    pub fn on_uevent(&self, event: &Uevent) {
        let came = event.action == "add" || event.action == "change";
        if let Some(alias) = event.get("MODALIAS").filter(|_| came) {
            self.send(Request::Alias(alias.to_owned()));
        }
    }

    /// Looks at every device afresh: for when events were lost. Returns at once.
    pub fn rescan(&self) {
        self.rescan.store(true, Ordering::Release);
        self.send(Request::Wake);
    }

    fn send(&self, request: Request) {
        match self.queue.try_send(request) {
            Ok(()) => {}
            // The thread has enough to do, and looks for itself when it is through.
            Err(TrySendError::Full(_)) => self.rescan.store(true, Ordering::Release),
            Err(TrySendError::Disconnected(_)) => {
                // It has said why.
                tracing::debug!("the thread that loads kernel modules has ended");
            }
        }
    }
}

fn load_first(loader: &mut Loader, modules: &[&str]) {
    for module in modules {
        if let Err(error) = loader.load(module) {
            tracing::warn!("{}", log::chain(&error));
        }
    }
}

fn run(mut loader: Loader, requests: &Receiver<Request>, rescan: &AtomicBool) {
    let mut told = 0;
    while let Ok(request) = requests.recv() {
        if let Request::Alias(alias) = &request {
            loader.load_for(alias);
        }
        if rescan.swap(false, Ordering::AcqRel) {
            loader.coldplug();
        }
        if loader.loaded() > told {
            told = loader.loaded();
            tracing::info!(count = told, "kernel modules loaded");
        }
    }
}
