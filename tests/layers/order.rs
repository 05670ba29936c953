//! The violations of an order of layers by a crate's imports.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Crate, Import, ROOT};

/// All violations, one line each: a module without a layer, a layer without a module, an import upward, and a cycle at any
/// level.
pub(crate) fn violations(layers: &[(&str, u8)], found: &Crate) -> Vec<String> {
    let tops: BTreeSet<&str> = found.modules.iter().map(|module| top(module)).collect();
    let unplaced = tops.iter().filter(|module| layer_of(layers, module).is_none());
    let mut lines: Vec<_> = unplaced
        .map(|module| format!("`{module}` has no layer: give it one in tests/layers/table.rs"))
        .collect();
    let phantoms = layers.iter().filter(|(name, _)| !tops.contains(name));
    lines.extend(phantoms.map(|(name, _)| format!("the layer of `{name}` has no module")));
    for import in &found.imports {
        if let (Some(from), Some(to)) =
            (layer_of(layers, top(&import.from)), layer_of(layers, top(&import.to)))
            && to > from
        {
            lines.push(format!(
                "{}: {} (layer {from}) imports upward from {} (layer {to})",
                import.place, import.from, import.to
            ));
        }
    }
    lines.dedup();
    for parent in &found.modules {
        lines.extend(cycles_within(parent, found));
    }
    lines
}

/// The layer of a top-level module.
pub(crate) fn layer_of(layers: &[(&str, u8)], module: &str) -> Option<u8> {
    layers.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The top-level module that a module is part of.
pub(crate) fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The part of `parent` that `module` belongs to: `parent` itself or one of its sub-modules. `None` if it is outside.
fn part<'a>(parent: &str, module: &'a str) -> Option<&'a str> {
    if parent == ROOT {
        return Some(top(module));
    }
    let inner = module.strip_prefix(parent)?;
    match inner.strip_prefix("::") {
        Some(inner) => Some(&module[..module.len() - inner.len() + top(inner).len()]),
        None => inner.is_empty().then_some(module),
    }
}

/// The cycles among a module's own items and its sub-modules, each of which includes the modules inside it.
fn cycles_within(parent: &str, found: &Crate) -> Vec<String> {
    let mut steps: BTreeMap<(&str, &str), &Import> = BTreeMap::new();
    for import in &found.imports {
        if let (Some(from), Some(to)) = (part(parent, &import.from), part(parent, &import.to))
            && from != to
        {
            steps.entry((from, to)).or_insert(import);
        }
    }
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in steps.keys() {
        graph.entry(from).or_default().insert(to);
    }
    let mut lines = Vec::new();
    while let Some(cycle) = find_cycle(&graph) {
        lines.push(format!("modules import each other in a cycle: {}", cycle.join(" -> ")));
        for step in cycle.windows(2) {
            let import = steps[&(step[0], step[1])];
            lines.push(format!(
                "  {}: {} imports {} from {}",
                import.place, import.from, import.item, import.to
            ));
        }
        // Each cycle has a step of its own, so that all are reported.
        graph.entry(cycle[cycle.len() - 2]).or_default().remove(cycle[cycle.len() - 1]);
    }
    lines
}

/// A cycle in the graph, if there is one, from the module with the lowest name to itself. Modules that import from no remaining module are
/// removed repeatedly; what remains are cycles and paths into them.
fn find_cycle<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut rest = graph.clone();
    loop {
        let names: BTreeSet<&str> = rest.keys().copied().collect();
        let before = rest.len();
        rest.values_mut().for_each(|targets| targets.retain(|target| names.contains(target)));
        rest.retain(|_, targets| !targets.is_empty());
        if rest.len() == before {
            break;
        }
    }
    let mut walk = vec![*rest.keys().next()?];
    loop {
        let next = *rest[walk[walk.len() - 1]].first()?;
        let start = walk.iter().position(|module| *module == next);
        if let Some(start) = start {
            let mut cycle = walk.split_off(start);
            let first = (0..cycle.len()).min_by_key(|at| cycle[*at])?;
            cycle.rotate_left(first);
            cycle.push(cycle[0]);
            return Some(cycle);
        }
        walk.push(next);
    }
}
