//! The table of interrupts.

use comfy_table::{CellAlignment, Table, presets};

use crate::present::layout;
use crate::report::interrupts::InterruptReport;

/// CPUs that a column each is worth; of more only the total is shown.
const CPU_COLUMNS: usize = 8;

/// The interrupts that were taken: a line for each vector, a column for each CPU if there are few, and the total.
pub fn interrupts(interrupts: &[InterruptReport]) -> Vec<String> {
    let cpus = interrupts.iter().map(|vector| vector.per_cpu.len()).max().unwrap_or(0);
    let columns = if cpus > CPU_COLUMNS { 0 } else { cpus };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let heads = (0..columns).map(|cpu| format!("cpu {cpu}"));
    table.set_header(["vector".to_owned()].into_iter().chain(heads).chain(["all".to_owned(), String::new()]));
    for vector in interrupts {
        let counts = vector.per_cpu.iter().take(columns).map(u64::to_string);
        let total = vector.per_cpu.iter().copied().fold(0, u64::saturating_add);
        let row = [format!("{:#04x}", vector.vector)].into_iter().chain(counts);
        table.add_row(row.chain([total.to_string(), crate::base::text::line(&vector.name)]));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if (1..columns + 2).contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    layout::lines(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_have_a_column_for_each_of_a_few_cpus() {
        let vector = |vector, per_cpu: &[u64]| InterruptReport {
            vector,
            name: "timer".to_owned(),
            per_cpu: per_cpu.to_vec(),
        };
        let lines = interrupts(&[vector(2, &[1, 20]), vector(242, &[100, 0])]);
        assert_eq!(
            lines,
            ["vector cpu 0 cpu 1 all", "0x02       1    20  21 timer", "0xf2     100     0 100 timer"]
        );
        let lines = interrupts(&[vector(242, &[1; 9])]);
        assert_eq!(lines, ["vector all", "0xf2     9 timer"]);
    }
}
