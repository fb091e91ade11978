//! What a process has used, as the kernel counts it (proc(5)).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What the kernel counts processor time of others in.
const TICK: Duration = Duration::from_millis(10);

/// How many threads wanted a processor in the last minute, ours among them.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").expect("Linux");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// A field of `/proc/PID/status` that counts KiB, in MiB; none when there is no such process any more.
pub fn mebibytes(id: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes / 1_024.0)
}

/// The processor time that all its threads have used so far: the first number of each `schedstat` is in nanoseconds. For a
/// process whose threads do not end.
pub fn processor_time(id: u32) -> Duration {
    std::fs::read_dir(format!("/proc/{id}/task"))
        .expect("a process")
        .map(|thread| thread.expect("a thread").path().join("schedstat"))
        .map(|path| std::fs::read_to_string(path).expect("a thread"))
        .map(|text| {
            let nanos = text.split(' ').next().expect("a number");
            Duration::from_nanos(nanos.parse().expect("a number"))
        })
        .sum()
}

/// The same to a hundredth of a second, with the threads that have ended; none when there is no such process any more.
pub fn processor_ticks(id: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

/// The processor time of one poll with a bare socket, in this thread: what this machine takes for a connection, a request and
/// a reply, whatever the client. A poll begins so long after the one before.
pub fn bare_poll(address: SocketAddr, every: Duration, polls: usize) -> Duration {
    let used = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a thread");
        let nanos = text.split(' ').next().expect("a number");
        Duration::from_nanos(nanos.parse().expect("a number"))
    };
    let request = "GET /latest/meta-data/spot/instance-action HTTP/1.1\r\nHost: metadata\r\n\r\n";
    let before = used();
    for _ in 0..polls {
        std::thread::sleep(every);
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(request.as_bytes()).expect("a reader");
        stream.read_to_end(&mut Vec::new()).expect("a reply");
    }
    used()
        .saturating_sub(before)
        .div_f64(crate::figure::count(polls))
}
