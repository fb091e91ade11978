//! Who gets the processor first: the API server, and who measures it. What in life runs on other machines stands back.

use std::path::Path;
use std::process::Command;

/// Lets this process have the processor only when nobody else wants it, with what it starts from here on.
pub fn stand_back() {
    let id = std::process::id().to_string();
    chrt(&["--all-tasks", "--idle", "--pid", "0", &id]);
}

/// Lets this thread have it like everybody, in a process that stands back.
pub fn step_forward() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
    let id = thread.file_name().expect("a thread's id").to_string_lossy();
    chrt(&["--other", "--pid", "0", &id]);
}

/// A program that gets the processor when nobody else wants it.
pub fn idle_class(program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("chrt");
    command.args(["--idle", "0"]).arg(program);
    command
}

fn chrt(arguments: &[&str]) {
    let chrt = Command::new("chrt")
        .args(arguments)
        .output()
        .expect("chrt is installed");
    let complaint = String::from_utf8_lossy(&chrt.stderr);
    assert!(chrt.status.success(), "chrt {arguments:?}: {complaint}");
}
