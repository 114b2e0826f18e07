//! Circles of arrows.

use std::collections::{BTreeMap, BTreeSet};

/// Groups of nodes that all lead to each other, of more than one node, each sorted.
pub(crate) fn find<'a>(arrows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Vec<&'a str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|node| (*node, reached(&next, node))).collect();
    let mut found = BTreeSet::new();
    for (node, there) in &reached {
        let group: Vec<&str> = there
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(node)))
            .copied()
            .collect();
        if group.len() > 1 {
            found.insert(group);
        }
    }
    found.into_iter().collect()
}

/// The nodes that a node leads to; itself only by way of others.
fn reached<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for other in next.get(node).into_iter().flatten() {
            if found.insert(*other) {
                open.push(other);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_that_ties_itself_is_found_once() {
        let arrows = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "f"), ("f", "e"), ("g", "a")];
        assert_eq!(find(arrows), [vec!["a", "b", "c"], vec!["e", "f"]]);
        assert!(find([("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    }
}
