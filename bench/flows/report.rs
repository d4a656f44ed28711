//! What is printed in the end, beside what was wanted.

use std::time::Duration;

use crate::cost::{Cost, median};

const MEGABYTE: f64 = 1_000_000.0;

/// The service where nobody calls.
pub(crate) struct Idle {
    /// From its start until it is ready.
    pub(crate) start: Duration,
    /// Memory in use, bytes.
    pub(crate) resident: u64,
    /// The binary, bytes.
    pub(crate) binary: u64,
}

/// All rounds.
pub(crate) struct Report {
    flows: usize,
    reads: usize,
    rounds: [Vec<Cost>; 4],
    transactions: u64,
}

impl Report {
    /// With that many flows and token reads in a round.
    pub(crate) fn new(flows: usize, reads: usize) -> Self {
        println!("\n{:<26} {:>7}   ms each:   wall   server   PostgreSQL   caller", "", "/s");
        Self { flows, reads, rounds: Default::default(), transactions: 0 }
    }

    /// A round: flows, their floor, token reads, their floor.
    pub(crate) fn add(&mut self, costs: [Cost; 4], transactions: u64) {
        for (which, cost) in costs.into_iter().enumerate() {
            self.row(which, cost);
            self.rounds[which].push(cost);
        }
        self.transactions += transactions;
    }

    /// The medians, and what is wanted of them.
    pub(crate) fn print(&self, pgbench: Option<f64>, idle: &Idle, loaded: [u64; 2]) {
        println!("\nmedians");
        let medians = [0, 1, 2, 3].map(|which| median(&self.rounds[which]));
        for (which, cost) in medians.iter().enumerate() {
            self.row(which, *cost);
        }
        match pgbench {
            Some(rate) => println!("{:<26} {rate:>7.0}", "the same by pgbench"),
            None => println!("pgbench is not installed; with PostgreSQL's own programs it would stand here"),
        }
        let [flows, floor, reads, bare] = medians;
        let rate = |cost: Cost, count: usize| count as f64 / cost.wall.as_secs_f64();
        let each = |spent: Duration, count: usize| spent.as_secs_f64() * 1000.0 / count as f64;
        let all = (self.flows * self.rounds[0].len()) as f64;
        let [resident, most] = loaded.map(|bytes| bytes as f64 / MEGABYTE);
        println!("\n{:<58} {:>9}   wanted", "", "measured");
        for (what, measured, wanted) in [
            ("flows, as a share of the floor's", ratio(floor.wall, flows.wall), ">= 0.6"),
            ("server's processor time of a flow, ms", each(flows.server, self.flows), "<= 0.6"),
            ("the same of the floor, ms", each(floor.server, self.flows), ""),
            ("transactions with a number of a flow, knocks included", self.transactions as f64 / all, ""),
            ("token reads a second", rate(reads, self.reads), ">= 6600"),
            ("token reads, as a share of the floor's", ratio(bare.wall, reads.wall), ""),
            ("memory where nobody calls, MB", idle.resident as f64 / MEGABYTE, "<= 30"),
            ("memory after all of this, MB", resident, ""),
            ("the most it was, MB", most, ""),
            ("from start to ready, s", idle.start.as_secs_f64(), "<= 0.3"),
            ("the binary, MB", idle.binary as f64 / MEGABYTE, "<= 30"),
        ] {
            println!("{what:<58} {measured:>9.2}   {wanted}");
        }
    }

    fn row(&self, which: usize, cost: Cost) {
        let (what, count) = match which {
            0 => ("flows", self.flows),
            1 => ("  the floor", self.flows),
            2 => ("token reads", self.reads),
            _ => ("  the floor", self.reads),
        };
        let each = |spent: Duration| spent.as_secs_f64() * 1000.0 / count as f64;
        let [wall, server, database, load] = [cost.wall, cost.server, cost.database, cost.load].map(each);
        println!(
            "{what:<26} {:>7.0}           {wall:>7.3}  {server:>7.3}      {database:>7.3}  {load:>7.3}",
            1000.0 / wall
        );
    }
}

fn ratio(this: Duration, other: Duration) -> f64 {
    this.as_secs_f64() / other.as_secs_f64()
}
