//! The tables of `docs/architecture.md`.

use std::collections::BTreeSet;

/// Allowed uses: the user and the used one.
pub(super) type Pairs = BTreeSet<(String, String)>;

/// The pairs of the table whose header is `| HEADER | May use |`.
pub(super) fn pairs(document: &str, header: &str) -> Pairs {
    let header = format!("| {header} | May use |");
    let rows = document.lines().skip_while(|line| *line != header).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let (from, to) = row.trim_matches('|').split_once('|').unwrap_or_default();
        let from = names(from);
        let to = names(to);
        from.into_iter()
            .flat_map(move |from| to.clone().into_iter().map(move |to| (from.clone(), to)))
    })
    .collect()
}

/// The names in backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
