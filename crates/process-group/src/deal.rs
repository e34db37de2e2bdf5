use crate::{ProcessGroup, Result};

/// Which of many items are whose: batches are dealt out in turn, batch `i` to process `i mod size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deal {
    rank: usize,
    size: usize,
    batch: usize,
}

impl Deal {
    /// Deals out batches of so many items; a process without a group has all of them.
    pub fn new(group: Option<&dyn ProcessGroup>, batch: usize) -> Self {
        let (rank, size) = group.map_or((0, 1), |group| (group.rank(), group.size()));
        Self { rank, size, batch: batch.max(1) }
    }

    /// Whether the item at this place is this process's.
    pub fn is_mine(self, place: usize) -> bool {
        place / self.batch % self.size == self.rank
    }

    /// How many of the first `count` items are this process's.
    pub fn mine(self, count: usize) -> usize {
        if self.size == 1 { count } else { (0..count).filter(|place| self.is_mine(*place)).count() }
    }

    /// The number among all batches of this process's batch number `own`.
    pub fn number(self, own: usize) -> usize {
        own * self.size + self.rank
    }
}

/// The numbers of all items, of which each process has those of its own: `per` numbers a batch, in the order of one process and to the
/// bit; and whether one of the processes has raised its flag.
///
/// # Errors
/// When a process is gone or gave up.
pub fn merge(
    group: Option<&dyn ProcessGroup>,
    mine: Vec<f64>,
    per: usize,
    flag: bool,
) -> Result<(Vec<f64>, bool)> {
    let Some(group) = group.filter(|group| group.size() > 1) else { return Ok((mine, flag)) };
    let first = f64::from(u8::from(flag));
    let bytes: Vec<u8> = [first].iter().chain(&mine).flat_map(|value| value.to_le_bytes()).collect();
    let all = group.all_gather(&bytes)?;
    let numbers =
        |part: &Vec<u8>| part.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let parts: Vec<Vec<f64>> = all.iter().map(numbers).collect();
    let is_raised = parts.iter().any(|part| part.first().is_some_and(|flag| *flag > 0.0));
    let rest: Vec<&[f64]> = parts.iter().map(|part| part.get(1..).unwrap_or_default()).collect();
    Ok((interleaved(&rest, per.max(1)), is_raised))
}

/// Parts that were dealt out by `per`, together again.
fn interleaved(parts: &[&[f64]], per: usize) -> Vec<f64> {
    let rounds = parts.iter().map(|part| part.len().div_ceil(per)).max().unwrap_or(0);
    let of_round = |round: usize| parts.iter().filter_map(move |part| part.chunks(per).nth(round));
    (0..rounds).flat_map(of_round).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dealt_out_comes_together_again() {
        for (size, batch, count) in [(1, 2, 9), (2, 2, 9), (3, 2, 16), (3, 1, 4), (4, 3, 2)] {
            let deals: Vec<Deal> = (0..size).map(|rank| Deal { rank, size, batch }).collect();
            let mine = |deal: &Deal| -> Vec<f64> {
                (0..count).filter(|place| deal.is_mine(*place)).map(|place| place as f64).collect()
            };
            let parts: Vec<Vec<f64>> = deals.iter().map(mine).collect();
            for (deal, part) in deals.iter().zip(&parts) {
                assert_eq!(deal.mine(count), part.len());
                for (own, items) in part.chunks(batch).enumerate() {
                    assert_eq!(deal.number(own), items[0] as usize / batch);
                }
            }
            let parts: Vec<&[f64]> = parts.iter().map(Vec::as_slice).collect();
            let all: Vec<f64> = (0..count).map(|place| place as f64).collect();
            assert_eq!(interleaved(&parts, batch), all, "{size} processes, batches of {batch}");
        }
    }
}
