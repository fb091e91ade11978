//! The metadata service, the instance it speaks of, and whether the clocks agree.

use super::finding::Section;
use super::{Check, machine};
use crate::plan::action::{Failure, MachineIdentity};
use crate::plan::fact::MetadataCause;
use crate::plan::time::WallTime;
use crate::ports::Metadata as _;
use crate::report::metadata_advice;

/// A smaller difference is the second that a `Date` is cut to, and the way of the reply.
const TOLERATED_SECONDS: f64 = 2.0;

impl Check<'_> {
    /// Which machine this is, if its metadata service says so.
    pub(super) async fn instance(&mut self) -> Option<MachineIdentity> {
        let ports = self.ports;
        let identity = match self.within(ports.metadata.identity()).await {
            Ok(identity) => identity,
            Err(failure) => {
                self.fail(Section::Instance, metadata_failure(&failure));
                return None;
            }
        };
        let text = format!(
            "the metadata service (IMDSv2) answers: {}",
            machine(&identity)
        );
        self.ok(Section::Instance, text);
        match identity.life_cycle.as_deref() {
            Some("spot") => self.ok(Section::Instance, "its life cycle is spot"),
            Some(other) => {
                let text = format!("its life cycle is {other}: it gets no notice");
                self.warn(Section::Instance, text);
            }
            None => self.note(Section::Instance, "its life cycle is not told"),
        }
        match self.within(ports.metadata.notice()).await {
            Ok(None) => self.ok(Section::Instance, "no notice is there"),
            Ok(Some(_)) => self.warn(
                Section::Instance,
                "a notice is there: EC2 is about to take this instance",
            ),
            Err(failure) => self.fail(Section::Instance, metadata_failure(&failure)),
        }
        if let Ok(date) = self.within(ports.metadata.date()).await {
            self.compare_clocks("the metadata service", date);
        }
        Some(identity)
    }

    /// How far this machine's clock is from another's.
    pub(super) fn compare_clocks(&mut self, whose: &str, date: Option<WallTime>) {
        let Some(date) = date else {
            self.note(Section::Clocks, format!("{whose} does not tell the time"));
            return;
        };
        let ahead = self.clock.now().wall.seconds_after(date);
        if ahead.abs() > TOLERATED_SECONDS {
            let text = format!(
                "this machine's clock is {:.0} s {} that of {whose}",
                ahead.abs(),
                if ahead > 0.0 { "ahead of" } else { "behind" }
            );
            self.warn(Section::Clocks, text);
        } else {
            let text = format!("this machine's clock agrees with that of {whose}");
            self.ok(Section::Clocks, text);
        }
    }
}

fn metadata_failure(failure: &Failure) -> String {
    format!(
        "{} ({failure})",
        metadata_advice(MetadataCause::of(failure))
    )
}
