//! What goes wrong between the agent and its neighbours: spells of bad weather, drawn from a seed.
//!
//! Outside of a spell every request is answered, after a latency. Whether a request that gets no answer had an effect is
//! a matter of the spell, as it is in life.

use std::time::Duration;

use fastrand::Rng;

use super::journal::Service;
use crate::plan::time::Moment;

/// A time in which a neighbour is hard to reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Spell {
    /// Which neighbour.
    pub service: Service,
    /// When it begins.
    pub from: Moment,
    /// When it is over.
    pub until: Moment,
    /// What it does.
    pub trouble: Trouble,
    /// How many of a hundred requests it hits.
    pub percent: u8,
}

impl Spell {
    /// Whether it troubles this neighbour at some time from `from` to `until`.
    #[must_use]
    pub fn touches(&self, service: Service, from: Moment, until: Moment) -> bool {
        self.service == service && self.from < until && from < self.until
    }
}

/// What a spell does to a request that it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection can be made.
    Partition,
    /// The request arrives nowhere, and nobody says so.
    Silence,
    /// The request takes effect, and nobody says so.
    MuteAnswer,
    /// The connection breaks before the request has arrived.
    LostRequest,
    /// The request takes effect, and the connection breaks before the answer has arrived.
    LostAnswer,
    /// It is answered with this status, without an effect.
    Status(u16),
    /// It is answered 503 or 504 by a gateway, and has taken effect all the same.
    GatewayAfterEffect(u16),
    /// The server is full: 429 of API priority and fairness, `Throttling` of a load balancer.
    Throttled,
    /// What comes cannot be read, and there was an effect.
    Garbage,
    /// It takes this long.
    Slow(Duration),
}

/// A dead connection is noticed by a ping after two seconds whose answer does not come within three.
const PINGS_TAKE: Duration = Duration::from_secs(5);

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// From the client to the server.
    pub there: Duration,
    /// And back.
    pub back: Duration,
    /// What happens to it.
    pub trouble: Option<Trouble>,
}

/// The weather between the agent and its neighbours.
#[derive(Clone, Debug)]
pub struct Weather {
    spells: Vec<Spell>,
    latency: Duration,
    dice: Rng,
}

impl Weather {
    /// Weather with these spells, and about this round trip; `seed` decides whom they hit.
    #[must_use]
    pub fn new(spells: Vec<Spell>, latency: Duration, seed: u64) -> Self {
        Self {
            spells,
            latency,
            dice: Rng::with_seed(seed),
        }
    }

    /// The spells.
    #[must_use]
    pub fn spells(&self) -> &[Spell] {
        &self.spells
    }

    /// What becomes of a request that leaves now.
    pub fn fate(&mut self, service: Service, now: Moment) -> Fate {
        let dice = &mut self.dice;
        let hit = self.spells.iter().find(|spell| {
            spell.service == service
                && (spell.from..spell.until).contains(&now)
                && dice.u8(..100) < spell.percent
        });
        let trouble = hit.map(|spell| spell.trouble);
        let half = self.latency / 2;
        let mut leg = || half.mul_f64(0.5 + self.dice.f64());
        Fate {
            there: leg(),
            back: leg(),
            trouble,
        }
    }

    /// When a watch opened then breaks, if it does: at once when connections break, and where none can be made when the
    /// pings of the old one have not been answered.
    #[must_use]
    pub fn watch_breaks_at(&self, opened: Moment) -> Option<Moment> {
        let breaks = self.spells.iter().filter_map(|spell| {
            let after = match (spell.service, spell.trouble) {
                (Service::Kubernetes, Trouble::LostRequest | Trouble::LostAnswer) => Duration::ZERO,
                (Service::Kubernetes, Trouble::Partition) => PINGS_TAKE,
                _ => return None,
            };
            (spell.until > opened).then(|| spell.from.max(opened) + after)
        });
        breaks.min()
    }

    /// Until when a watch brings nothing now, if it does not.
    #[must_use]
    pub fn mute_until(&self, now: Moment) -> Option<Moment> {
        let hushed = self
            .hushed()
            .filter(|spell| (spell.from..spell.until).contains(&now));
        hushed.map(|spell| spell.until).max()
    }

    /// When a watch next stops bringing anything.
    #[must_use]
    pub fn mute_from(&self, now: Moment) -> Option<Moment> {
        let later = self.hushed().map(|spell| spell.from);
        later.filter(|from| *from > now).min()
    }

    fn hushed(&self) -> impl Iterator<Item = &Spell> {
        self.spells.iter().filter(|spell| {
            spell.service == Service::Kubernetes
                && matches!(
                    spell.trouble,
                    Trouble::Silence | Trouble::MuteAnswer | Trouble::Partition
                )
        })
    }

    /// Whether no spell touches this neighbour from `from` to `until`.
    #[must_use]
    pub fn is_clear(&self, service: Service, from: Moment, until: Moment) -> bool {
        self.spells
            .iter()
            .all(|spell| !spell.touches(service, from, until))
    }

    /// The first moment at or after `from` at which the weather between the agent and this neighbour has been clear for
    /// `length`, if there is one before `end`.
    #[must_use]
    pub fn clear_for(
        &self,
        service: Service,
        from: Moment,
        length: Duration,
        end: Moment,
    ) -> Option<Moment> {
        let ends = self
            .spells
            .iter()
            .filter(|spell| spell.service == service)
            .map(|spell| spell.until);
        let mut starts: Vec<Moment> = ends.filter(|until| *until > from).collect();
        starts.push(from);
        starts.sort();
        starts
            .into_iter()
            .map(|start| (start, start + length))
            .find(|(start, after)| *after <= end && self.is_clear(service, *start, *after))
            .map(|(_, after)| after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(from: i64, until: i64) -> Spell {
        Spell {
            service: Service::Kubernetes,
            from: Moment::at_secs(from),
            until: Moment::at_secs(until),
            trouble: Trouble::Partition,
            percent: 100,
        }
    }

    #[test]
    fn a_spell_hits_its_service_in_its_time_and_nobody_else() {
        let mut weather = Weather::new(vec![spell(5, 10)], Duration::from_millis(20), 1);
        let mut trouble = |service, at| weather.fate(service, Moment::at_secs(at)).trouble;
        assert_eq!(trouble(Service::Kubernetes, 4), None);
        assert_eq!(trouble(Service::Kubernetes, 5), Some(Trouble::Partition));
        assert_eq!(trouble(Service::Metadata, 5), None);
        assert_eq!(trouble(Service::Kubernetes, 10), None);
    }

    #[test]
    fn clear_weather_of_some_length_is_found_between_spells() {
        let spells = vec![spell(5, 10), spell(12, 20)];
        let weather = Weather::new(spells, Duration::ZERO, 1);
        let find = |from, length, end| {
            let length = Duration::from_secs(length);
            let from = Moment::at_secs(from);
            weather.clear_for(Service::Kubernetes, from, length, Moment::at_secs(end))
        };
        assert_eq!(find(0, 3, 60), Some(Moment::at_secs(3)));
        assert_eq!(find(0, 6, 60), Some(Moment::at_secs(26)));
        assert_eq!(find(4, 2, 60), Some(Moment::at_secs(12)));
        assert_eq!(find(0, 6, 25), None);
    }
}
