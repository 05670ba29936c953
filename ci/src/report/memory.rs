//! The memory of each zone of each NUMA node, before and after the work, built from its records.

use octopod::wire::ORDERS;
use serde::{Deserialize, Serialize};

use crate::run::Seen;

/// Memory of one node in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneReport {
    /// The node.
    pub node: u32,
    /// `low`, `dma32` or `normal`.
    pub zone: String,
    /// Frames under the allocator's care.
    pub frames_total: u64,
    /// The free ones before the work.
    pub before: Option<FreeReport>,
    /// The free ones after it.
    pub after: Option<FreeReport>,
}

/// Free frames, and how whole they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeReport {
    /// The number of free frames, without those that CPUs cache.
    pub frames: u64,
    /// The same by the largest order at which they could be allocated, from 0 on.
    pub by_order: [u64; ORDERS],
}

/// One for each node and zone, in the order in which the kernel named them.
pub(super) fn zones(seen: &Seen) -> Vec<ZoneReport> {
    let mut reports: Vec<ZoneReport> = Vec::new();
    for zone in &seen.zones {
        let known = reports.iter().position(|report| (report.node, &report.zone) == (zone.node, &zone.zone));
        let place = known.unwrap_or_else(|| {
            let (node, zone) = (zone.node, zone.zone.clone());
            reports.push(ZoneReport { node, zone, frames_total: 0, before: None, after: None });
            reports.len() - 1
        });
        let report = &mut reports[place];
        report.frames_total = zone.frames_total;
        let free = FreeReport { frames: zone.free_frames, by_order: zone.free_by_order };
        *if zone.after { &mut report.after } else { &mut report.before } = Some(free);
    }
    reports
}

#[cfg(test)]
mod tests {
    use octopod::wire::ZoneCounts;

    use super::*;

    #[test]
    fn before_and_after_come_together() {
        let counts = |after, node, zone: &str, free_frames| ZoneCounts {
            after,
            node,
            zone: zone.to_owned(),
            frames_total: 100 + u64::from(node),
            free_frames,
            free_by_order: [free_frames; ORDERS],
        };
        let seen = Seen {
            zones: vec![
                counts(false, 0, "low", 1),
                counts(false, 0, "dma32", 2),
                counts(false, 1, "dma32", 3),
                counts(true, 0, "dma32", 4),
                counts(true, 1, "dma32", 5),
            ],
            ..Seen::default()
        };
        let free = |report: &Option<FreeReport>| report.as_ref().map(|free| (free.frames, free.by_order[18]));
        let found: Vec<_> = zones(&seen)
            .iter()
            .map(|it| (it.node, it.zone.clone(), it.frames_total, free(&it.before), free(&it.after)))
            .collect();
        assert_eq!(
            found,
            [
                (0, "low".to_owned(), 100, Some((1, 1)), None),
                (0, "dma32".to_owned(), 100, Some((2, 2)), Some((4, 4))),
                (1, "dma32".to_owned(), 101, Some((3, 3)), Some((5, 5))),
            ]
        );
    }
}
