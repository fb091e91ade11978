//! What a process has used, as the kernel counts it (proc(5)).

use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux of today (`sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A field of `/proc/PID/status` that counts KiB, in MiB.
pub fn mebibytes(id: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: f64 = kibibytes.expect("a field").parse().expect("a number");
    kibibytes / 1_024.0
}

/// The processor time it has used so far.
pub fn processor_time(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a process");
    // The name in parentheses may hold spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}
