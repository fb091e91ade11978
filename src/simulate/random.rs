//! The command `simulate --random`: many interruptions, each drawn from a seed, judged by every rule.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::Played;
use super::interruption::{Ending, Telling, play};
use crate::plan::time::Moment;
use crate::sim::setting::Setting;

/// A sign of life comes this often.
const PROGRESS_EVERY: u64 = 1_000;

/// So many failing seeds are told in full; the rest is counted.
const FAILURES_TOLD: usize = 3;

/// Upper bounds of the histogram's bars, in seconds from the notice to the last stop signal.
const BARS: [u64; 8] = [1, 5, 10, 20, 40, 60, 90, 120];

/// What was seen in many interruptions.
#[derive(Debug, Default)]
struct Statistics {
    outcomes: BTreeMap<String, u64>,
    bars: [u64; BARS.len() + 1],
    /// The seed with the latest last stop signal, and how late that was.
    slowest: Option<(f64, u64)>,
    /// The seed with the most calls to the API server.
    busiest: Option<(usize, u64)>,
    failures: Vec<u64>,
    /// How many seeds broke each rule, and the first of them.
    broken: BTreeMap<&'static str, (u64, u64)>,
}

impl Statistics {
    fn add(&mut self, seed: u64, ending: &Ending) {
        let outcome = ending.outcome.as_deref().unwrap_or("no verdict");
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
        if let Some(after) = ending.last_signal_after {
            let bar = BARS.iter().position(|bound| after.as_secs() < *bound);
            self.bars[bar.unwrap_or(BARS.len())] += 1;
            let after = after.as_secs_f64();
            if self.slowest.is_none_or(|(slowest, _)| after > slowest) {
                self.slowest = Some((after, seed));
            }
        }
        if self.busiest.is_none_or(|(calls, _)| ending.calls > calls) {
            self.busiest = Some((ending.calls, seed));
        }
        if !ending.violations.is_empty() {
            self.failures.push(seed);
            let rules: BTreeSet<&str> =
                ending.violations.iter().map(|broken| broken.rule).collect();
            for rule in rules {
                self.broken.entry(rule).or_insert((0, seed)).0 += 1;
            }
        }
    }
}

/// Plays `count` interruptions, of the seeds from `first` on. A single one is told in full.
///
/// # Errors
/// When what is to be told cannot be written.
pub fn play_random(count: u64, first: u64, out: &mut impl Write) -> io::Result<Played> {
    let mut statistics = Statistics::default();
    if count == 1 {
        let setting = Setting::of(first);
        let ending = play(&setting, Telling::Kept);
        tell(&setting, &ending, out)?;
        statistics.add(first, &ending);
    } else {
        for seed in first..first.saturating_add(count) {
            let ending = play(&Setting::of(seed), Telling::Dropped);
            statistics.add(seed, &ending);
            let played = seed - first + 1;
            if played.is_multiple_of(PROGRESS_EVERY) && played < count {
                let failures = statistics.failures.len();
                writeln!(out, "{played} of {count}: {failures} broke a rule")?;
            }
        }
        summarize(count, &statistics, out)?;
        for seed in statistics.failures.iter().take(FAILURES_TOLD) {
            let smallest = shrunk(&Setting::of(*seed));
            tell(&smallest, &play(&smallest, Telling::Kept), out)?;
        }
    }
    out.flush()?;
    Ok(if statistics.failures.is_empty() {
        Played::AsStated
    } else {
        Played::Otherwise
    })
}

fn summarize(count: u64, statistics: &Statistics, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{count} interruptions")?;
    for (outcome, times) in &statistics.outcomes {
        writeln!(out, "  {outcome:<12}{times:>10}")?;
    }
    writeln!(out, "\nfrom the notice to the last stop signal")?;
    let most = statistics.bars.iter().max().copied().unwrap_or(0).max(1);
    for (index, times) in statistics.bars.iter().enumerate() {
        let bound = BARS
            .get(index)
            .map_or_else(|| "more".to_owned(), |bound| format!("< {bound} s"));
        let length = usize::try_from(times * 50 / most).unwrap_or(50);
        writeln!(out, "  {bound:>8}{times:>10}  {}", "#".repeat(length))?;
    }
    if let Some((after, seed)) = statistics.slowest {
        writeln!(out, "\nslowest: {after:.1} s, {}", command(seed))?;
    }
    if let Some((calls, seed)) = statistics.busiest {
        writeln!(out, "busiest: {calls} calls, {}", command(seed))?;
    }
    writeln!(out, "rules broken in {} of them", statistics.failures.len())?;
    for (rule, (times, seed)) in &statistics.broken {
        writeln!(out, "  {times:>6}  {rule}, first in seed {seed}")?;
    }
    Ok(())
}

fn command(seed: u64) -> String {
    format!("spot-interrupt-handler simulate --random 1 --seed {seed}")
}

fn tell(setting: &Setting, ending: &Ending, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nseed {}: {}", setting.seed, command(setting.seed))?;
    writeln!(
        out,
        "{} pods, {} budgets, {} target groups, round trip {:?}, clock ahead by {} ms, on blocked: {:?}",
        setting.pods.len(),
        setting.budgets.len(),
        setting.groups.len(),
        setting.latency,
        setting.skew_millis,
        setting.on_blocked,
    )?;
    for pod in &setting.pods {
        writeln!(
            out,
            "  pod {}/{}: {}, {:?}, grace {} s, stops after {:?}, {:?}",
            pod.namespace,
            pod.name,
            pod.owner
                .as_ref()
                .map_or("bare", |owner| owner.kind.as_str()),
            pod.phase,
            pod.grace,
            pod.stops_after,
            pod.volume,
        )?;
    }
    for budget in &setting.budgets {
        writeln!(
            out,
            "  budget {}/{} over {:?}: {} allowed, {} of {} healthy, {:?}",
            budget.namespace,
            budget.name,
            budget.selector,
            budget.allowed,
            budget.healthy,
            budget.desired,
            budget.recovers_after,
        )?;
    }
    for spell in &setting.spells {
        writeln!(
            out,
            "  {} from {:.1} s to {:.1} s: {:?} for {} %",
            spell.service.name(),
            seconds(spell.from),
            seconds(spell.until),
            spell.trouble,
            spell.percent,
        )?;
    }
    let notice = setting.notice;
    writeln!(
        out,
        "  notice at {:.1} s, {} at {:.1} s\n",
        seconds(notice.appears),
        notice.action.as_str(),
        seconds(notice.takes_effect()),
    )?;
    for (at, text) in &ending.story {
        writeln!(out, "{:>8.3}  {text}", seconds(*at))?;
    }
    for violation in &ending.violations {
        writeln!(
            out,
            "BROKEN at {:.3}: {} ({})",
            seconds(violation.at),
            violation.rule,
            violation.detail
        )?;
    }
    Ok(())
}

fn seconds(moment: Moment) -> f64 {
    moment.since_origin().as_secs_f64()
}

/// The smallest setting found that still breaks the first rule that this one breaks: without one thing after another.
fn shrunk(setting: &Setting) -> Setting {
    let rule = |setting: &Setting| {
        let ending = play(setting, Telling::Dropped);
        ending.violations.first().map(|violation| violation.rule)
    };
    let Some(broken) = rule(setting) else {
        return setting.clone();
    };
    let mut smallest = setting.clone();
    loop {
        let smaller = smallest
            .smaller()
            .find(|smaller| rule(smaller) == Some(broken));
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}
