//! Who gets the processor first: the API server, and who measures it. What in life runs on other machines stands back.

use std::path::Path;
use std::process::Command;

/// Lets this process have the processor only when nobody else wants it, with what it starts from here on.
pub fn stand_back() {
    schedule("--idle", &std::process::id().to_string(), "--all-tasks");
}

/// Lets this thread have it like everybody, in a process that stands back.
pub fn step_forward() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
    let id = thread.file_name().expect("a thread's id").to_string_lossy();
    schedule("--other", &id, "--verbose");
}

/// A program that gets the processor when nobody else wants it.
pub fn idle_class(program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("chrt");
    command.args(["--idle", "0"]).arg(program);
    command
}

fn schedule(class: &str, id: &str, how: &str) {
    let chrt = Command::new("chrt")
        .args([how, class, "--pid", "0", id])
        .output()
        .expect("chrt is installed");
    let complaint = String::from_utf8_lossy(&chrt.stderr);
    assert!(chrt.status.success(), "chrt {class}: {complaint}");
}
