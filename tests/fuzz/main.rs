//! Every parser of bytes from outside, fed with what nobody meant to send.
//!
//! Without arguments a short run, always the same, as part of the tests. `make fuzz` runs on:
//! `--rounds N` for each subject, `--seed S` for other inputs, and names choose subjects. An input whose outcome was
//! not seen before joins the pool from which the next are made; one that fails is made smaller and kept in the corpus.
#![allow(clippy::print_stdout)]

mod mutation;
mod subjects;
mod wire;

// The server is the tests' own; not all of it is needed here.
#[allow(dead_code)]
#[path = "../it/scripted.rs"]
mod scripted;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fastrand::Rng;

use mutation::mutated;
use subjects::Subject;

/// Enough for each operator of the mutation on each input of the corpus, and a second or two in a debug build.
const SHORT_ROUNDS: u64 = 4_000;

/// So many inputs of one subject are held; a late one takes a random place.
const POOL_LIMIT: usize = 4_096;

struct Plan {
    rounds: u64,
    seed: u64,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let plan = plan(std::env::args().skip(1));
    std::panic::set_hook(Box::new(|_| ()));
    let chosen = subjects::all().into_iter().filter(|subject| {
        plan.names.is_empty() || plan.names.iter().any(|name| name == subject.name)
    });
    let failures = chosen
        .filter_map(|mut subject| fuzz(&mut subject, &plan).err())
        .count();
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the arguments ask for. Those of the usual harness, which `cargo test -- …` gives to every target, mean nothing.
fn plan(mut arguments: impl Iterator<Item = String>) -> Plan {
    let mut plan = Plan {
        rounds: SHORT_ROUNDS,
        seed: 0,
        names: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse()
                .unwrap_or_else(|_| panic!("{argument} {text:?} is no number"))
        };
        match argument.as_str() {
            "--rounds" => plan.rounds = number(),
            "--seed" => plan.seed = number(),
            name if subjects::all().iter().any(|subject| subject.name == name) => {
                plan.names.push(argument);
            }
            _ => (),
        }
    }
    plan
}

fn corpus(subject: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(subject)
}

fn kept_inputs(subject: &str) -> Vec<Vec<u8>> {
    let folder = corpus(subject);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a file of the corpus"))
        .collect()
}

/// Plays the corpus and then mutations of it.
fn fuzz(subject: &mut Subject, plan: &Plan) -> Result<(), ()> {
    let mut pool = kept_inputs(subject.name);
    let corpus_size = pool.len();
    let mut outcomes = BTreeSet::new();
    for input in &pool {
        outcomes
            .insert(attempt(subject, input).map_err(|message| report(subject, input, &message))?);
    }
    let mut rng = Rng::with_seed(plan.seed);
    let rounds = plan.rounds / subject.cost;
    for _ in 0..rounds {
        let input = mutated(&pool, &mut rng);
        let outcome =
            attempt(subject, &input).map_err(|message| report(subject, &input, &message))?;
        if outcomes.insert(outcome) {
            if pool.len() < POOL_LIMIT {
                pool.push(input);
            } else {
                let place = rng.usize(corpus_size..pool.len());
                pool[place] = input;
            }
        }
    }
    println!(
        "{:<12} {corpus_size:>3} kept inputs, {rounds:>9} made of them, {:>5} different outcomes",
        subject.name,
        outcomes.len()
    );
    Ok(())
}

/// The outcome of one input, without what differs between inputs of the same kind; or the message of its panic.
fn attempt(subject: &mut Subject, input: &[u8]) -> Result<String, String> {
    catch_unwind(AssertUnwindSafe(|| (subject.run)(input)))
        .map(|outcome| shape(&outcome))
        .map_err(|panic| {
            panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default()
        })
}

/// An outcome's words: digits and what stands in quotes come from the input.
fn shape(outcome: &str) -> String {
    let unquoted = outcome.split('"').step_by(2);
    unquoted
        .flat_map(str::chars)
        .filter(|character| !character.is_ascii_digit())
        .take(120)
        .collect()
}

/// Makes the input smaller as long as it fails, keeps it and tells of it.
fn report(subject: &mut Subject, input: &[u8], message: &str) {
    let mut smallest = input.to_vec();
    let mut piece = smallest.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start + piece <= smallest.len() {
            let mut smaller = smallest.clone();
            smaller.drain(start..start + piece);
            if attempt(subject, &smaller).is_err() {
                smallest = smaller;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
    let name = smallest
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            // FNV-1a: the same input has the same name.
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let file = corpus(subject.name).join(format!("found-{name:016x}"));
    std::fs::write(&file, &smallest).expect("a place in the corpus");
    println!(
        "{}: {message}\n  {:?}\n  kept as {}",
        subject.name,
        smallest.escape_ascii().to_string(),
        file.display()
    );
}
