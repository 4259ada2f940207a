//! The images as a tree: which image was made from which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::progress::shortened;
use super::rows::{Terminal, print_record};
use crate::OperationStatus;
use crate::cli::output::print;
use crate::cli::units::age;
use crate::tools::one_line;

/// An image of the tree.
#[derive(Clone, Debug, Default, Serialize)]
struct TreeNode {
    uuid: Uuid,
    parent_uuid: Option<Uuid>,
    tags: Vec<String>,
    created_at: Option<String>,
    /// Whether it is the image of the session.
    is_current: bool,
}

/// All images, with the parents that the operations show.
#[derive(Debug, Default)]
struct ImageTree {
    nodes: BTreeMap<Uuid, TreeNode>,
    children: BTreeMap<Uuid, Vec<Uuid>>,
}

/// Shows all images.
pub(super) async fn show_all(cx: &VerbContext) -> Result<u8, VerbError> {
    let tree = ImageTree::read(cx).await?;
    let roots = tree.roots();
    tree.print(cx, &roots)
}

/// Shows the images that share the oldest ancestor of an image.
pub(super) async fn show_family(cx: &VerbContext, image: Uuid) -> Result<u8, VerbError> {
    let tree = ImageTree::read(cx).await?;
    let mut root = image;
    let mut seen = BTreeSet::new();
    while let Some(parent) = tree.nodes.get(&root).and_then(|node| node.parent_uuid)
        && seen.insert(root)
    {
        root = parent;
    }
    tree.print(cx, &[root])
}

impl ImageTree {
    async fn read(cx: &VerbContext) -> Result<Self, VerbError> {
        let current = cx.state().await?.image;
        let mut tree = Self::default();
        let mut images = cx.client.images();
        while let Some(image) = images.next().await {
            let image = image?;
            let node = tree.nodes.entry(image.uuid).or_default();
            node.uuid = image.uuid;
            node.created_at = Some(image.created_at);
            node.is_current = current == Some(image.uuid);
            // A list has an image once for each of its tags.
            node.tags
                .extend(image.tag.filter(|tag| !node.tags.contains(tag)));
        }
        let mut operations = cx.client.operations().status("SUCCESS");
        let mut parents = BTreeMap::new();
        while let Some(operation) = operations.next().await {
            let operation = operation?;
            if operation.status == OperationStatus::Success
                && let (Some(parent), Some(result)) = (operation.image, operation.result_image)
                && parent != result
            {
                // The oldest operation made the image; later ones found it unchanged.
                parents.insert(result, parent);
            }
        }
        for (image, parent) in parents {
            if !tree.nodes.contains_key(&image) {
                continue;
            }
            // A deleted parent stays visible, so that its children keep their places.
            tree.nodes.entry(parent).or_insert_with(|| TreeNode {
                uuid: parent,
                ..TreeNode::default()
            });
            if let Some(node) = tree.nodes.get_mut(&image) {
                node.parent_uuid = Some(parent);
            }
            tree.children.entry(parent).or_default().push(image);
        }
        let nodes = &tree.nodes;
        for children in tree.children.values_mut() {
            children.sort_by_key(|child| nodes.get(child).and_then(|node| node.created_at.clone()));
        }
        Ok(tree)
    }

    fn roots(&self) -> Vec<Uuid> {
        let mut roots: Vec<&TreeNode> = self
            .nodes
            .values()
            .filter(|node| node.parent_uuid.is_none())
            .collect();
        roots.sort_by_key(|node| node.created_at.clone());
        roots.into_iter().map(|node| node.uuid).collect()
    }

    fn print(&self, cx: &VerbContext, roots: &[Uuid]) -> Result<u8, VerbError> {
        let mut lines = Vec::new();
        for root in roots {
            self.add(*root, "", "", &mut lines);
        }
        if cx.format.is_json() {
            for (node, _) in &lines {
                print_record(cx.format, node)?;
            }
            return Ok(0);
        }
        let width = Terminal::of_stdout().width();
        let lines = lines.iter().map(|(node, lead)| {
            let line = line(node, lead);
            let line = width.map_or(line.clone(), |width| shortened(&line, width.into()));
            format!("{line}\n")
        });
        let text: String = lines.collect();
        print(&text)?;
        Ok(0)
    }

    /// Adds an image and those below it, without recursion, since chains may be long.
    fn add<'a>(
        &'a self,
        root: Uuid,
        lead: &str,
        below: &str,
        lines: &mut Vec<(&'a TreeNode, String)>,
    ) {
        let mut waiting = vec![(root, lead.to_owned(), below.to_owned())];
        let mut seen = BTreeSet::new();
        while let Some((image, lead, below)) = waiting.pop() {
            let Some(node) = self.nodes.get(&image).filter(|_| seen.insert(image)) else {
                continue;
            };
            lines.push((node, lead));
            let children = self.children.get(&image).map_or(&[][..], Vec::as_slice);
            // The last child stays in the column of its parent if it is the only one, so that a
            // chain does not move to the right.
            for (at, child) in children.iter().enumerate().rev() {
                let is_last = at + 1 == children.len();
                let (branch, more) = match (children.len(), is_last) {
                    (1, _) => ("", ""),
                    (_, true) => ("└─ ", "   "),
                    (_, false) => ("├─ ", "│  "),
                };
                waiting.push((*child, format!("{below}{branch}"), format!("{below}{more}")));
            }
        }
    }
}

fn line(node: &TreeNode, lead: &str) -> String {
    let mark = if node.is_current { "@ " } else { "" };
    let age = match &node.created_at {
        Some(time) => age(time),
        None => "deleted".to_owned(),
    };
    let tags = node.tags.join(" ");
    let text = format!("{lead}{mark}{}  {age}  {tags}", short(&node.uuid));
    one_line(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_drawn_and_chains_stay_in_their_column() {
        let id = |number: u128| Uuid::from_u128(number << 96);
        let mut tree = ImageTree::default();
        for number in 1..=5 {
            tree.nodes.insert(
                id(number),
                TreeNode {
                    uuid: id(number),
                    ..TreeNode::default()
                },
            );
        }
        tree.children = BTreeMap::from([
            (id(1), vec![id(2)]),
            (id(2), vec![id(3), id(4)]),
            (id(3), vec![id(5)]),
        ]);
        let mut lines = Vec::new();
        tree.add(id(1), "", "", &mut lines);
        let shown: Vec<String> = lines
            .iter()
            .map(|(node, lead)| format!("{lead}{}", short(&node.uuid)))
            .collect();
        let expected = [
            "00000001",
            "00000002",
            "├─ 00000003",
            "│  00000005",
            "└─ 00000004",
        ];
        assert_eq!(shown, expected);
    }
}
