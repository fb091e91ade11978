//! Where lines and diagnostics go.
//!
//! Lines leave through a bounded queue and a writer thread: a stdout that nobody reads must never block the drain. What
//! does not fit is dropped and counted. Diagnostics of the libraries, for developers, go to stderr and only when asked for.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::report::{Line, Outlet};

/// An interruption of 250 pods writes about a thousand lines; this holds several.
const QUEUE: usize = 8_192;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line: the contract.
    Json,
    /// For people on a terminal.
    Text,
}

impl LogFormat {
    /// Text on a terminal, JSON everywhere else.
    #[must_use]
    pub fn for_stdout() -> Self {
        if io::stdout().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

/// Standard output behind a queue.
#[derive(Debug)]
pub struct Stdout {
    writer: Mutex<NonBlocking>,
    dropped: ErrorCounter,
    format: LogFormat,
}

impl Stdout {
    /// Starts the writer thread. What is in the queue is written when the guard is dropped.
    pub fn start(format: LogFormat) -> (Self, WorkerGuard) {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(QUEUE)
            .thread_name("log")
            .finish(io::stdout());
        let dropped = writer.error_counter();
        let outlet = Self {
            writer: Mutex::new(writer),
            dropped,
            format,
        };
        (outlet, guard)
    }
}

impl Outlet for Stdout {
    fn put(&self, line: &Line) {
        let mut text = match self.format {
            LogFormat::Json => line.to_json(),
            LogFormat::Text => line.to_text(),
        };
        text.push('\n');
        let mut writer = self
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // The queue takes the whole line or drops it, and counts that itself.
        let _ = writer.write_all(text.as_bytes());
    }

    fn dropped(&self) -> u64 {
        self.dropped.dropped_lines().try_into().unwrap_or(u64::MAX)
    }
}

/// Sends the libraries' diagnostics of that level and above to stderr.
pub fn diagnose(level: LevelFilter) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(io::stderr)
        .finish();
    // Only the first subscriber of a process counts; there is one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
