//! The images as a tree: which image was made from which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::progress::shortened;
use super::rows::{Terminal, print_record};
use crate::cli::output::print;
use crate::cli::units::age;
use crate::tools::one_line;
use crate::{LogRequest, OperationStatus};

/// The most images that one request lists.
pub(super) const MAX_LOG_IMAGES: u64 = 1000;

/// An image of the tree.
#[derive(Clone, Debug, Default, Serialize)]
struct TreeNode {
    uuid: Uuid,
    parent_uuid: Option<Uuid>,
    tags: Vec<String>,
    created_at: Option<String>,
    /// Whether it is the image of the session.
    is_current: bool,
    /// The branches of the session that end with it.
    branches: Vec<String>,
    /// The command that made it, or the reference that was imported, if that is known.
    command: Option<String>,
}

/// All images, with the parents that the operations show.
#[derive(Debug, Default)]
struct ImageTree {
    nodes: BTreeMap<Uuid, TreeNode>,
    children: BTreeMap<Uuid, Vec<Uuid>>,
    /// The active branch of the session.
    active_branch: String,
}

/// Shows all images.
pub(super) async fn show_all(cx: &VerbContext) -> Result<u8, VerbError> {
    let tree = ImageTree::read(cx).await?;
    let roots = tree.roots();
    tree.print(cx, &roots)
}

/// Shows the images that share the oldest ancestor of an image.
pub(super) async fn show_family(cx: &VerbContext, image: Uuid) -> Result<u8, VerbError> {
    let mut tree = ImageTree::read(cx).await?;
    let mut root = image;
    let mut seen = BTreeSet::new();
    while let Some(parent) = tree.nodes.get(&root).and_then(|node| node.parent_uuid)
        && seen.insert(root)
    {
        root = parent;
    }
    tree.add_commands(cx, root).await?;
    tree.print(cx, &[root])
}

impl ImageTree {
    async fn read(cx: &VerbContext) -> Result<Self, VerbError> {
        let state = cx.state().await?;
        let current = state.image;
        let mut tree = Self {
            active_branch: state.branch,
            ..Self::default()
        };
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
        tree.add_session(cx).await?;
        let nodes = &tree.nodes;
        for children in tree.children.values_mut() {
            children.sort_by_key(|child| nodes.get(child).and_then(|node| node.created_at.clone()));
        }
        Ok(tree)
    }

    /// Adds the branches of the session, and the commands in its history.
    async fn add_session(&mut self, cx: &VerbContext) -> Result<(), VerbError> {
        let branches = cx.branches().await?;
        for entry in cx.history().await? {
            let image = entry.image.parse().ok();
            let Some(node) = image.and_then(|image: Uuid| self.nodes.get_mut(&image)) else {
                continue;
            };
            let ends = branches.iter().filter(|(_, tip)| *tip == entry.id);
            node.branches.extend(ends.map(|(branch, _)| branch.clone()));
            // A run that changed nothing has the image of an earlier entry.
            if entry.kind == "run" && node.command.is_none() {
                node.command = Some(entry.title);
            }
        }
        Ok(())
    }

    /// Adds the commands that made an image and those below it. The log of a newest image has those
    /// of the images before it too. A service without logs knows them only from the session.
    async fn add_commands(&mut self, cx: &VerbContext, root: Uuid) -> Result<(), VerbError> {
        if !cx.client.has_extension("log").await? {
            return Ok(());
        }
        let request = LogRequest {
            limit: MAX_LOG_IMAGES,
            ..LogRequest::default()
        };
        let mut asked = BTreeSet::new();
        for newest in self.newest(root) {
            // Images that the logs of other ones have are not asked for again.
            if asked.contains(&newest) || self.nodes[&newest].created_at.is_none() {
                continue;
            }
            let log = match cx.client.log(newest, request).await {
                Ok(log) => log,
                // It was deleted meanwhile.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in log.images {
                asked.insert(entry.uuid);
                if let (Some(node), Some(command)) =
                    (self.nodes.get_mut(&entry.uuid), entry.command)
                {
                    node.command = Some(command);
                }
            }
        }
        Ok(())
    }

    /// The images below a root from which no other image was made.
    fn newest(&self, root: Uuid) -> Vec<Uuid> {
        let mut lines = Vec::new();
        self.add(root, "", "", &mut lines);
        let images = lines.into_iter().map(|(node, _)| node.uuid);
        let is_newest = |image: &Uuid| self.children.get(image).is_none_or(Vec::is_empty);
        images.filter(is_newest).collect()
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
            let line = line(node, lead, &self.active_branch);
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

/// The line of an image: its names in parentheses, and the command that made it. Each name can be
/// typed as it is shown.
fn line(node: &TreeNode, lead: &str, active_branch: &str) -> String {
    let age = match &node.created_at {
        Some(time) => age(time),
        None => "deleted".to_owned(),
    };
    let is_active = |branch: &&String| *branch == active_branch;
    let mut names = Vec::new();
    if node.is_current {
        let active = node.branches.iter().find(is_active);
        names.push(active.map_or("@".to_owned(), |branch| format!("@ -> @{branch}")));
    }
    let is_other = |branch: &&String| !(node.is_current && is_active(branch));
    let others = node.branches.iter().filter(is_other);
    names.extend(others.map(|branch| format!("@{branch}")));
    names.extend(node.tags.iter().map(|tag| format!("tag:{tag}")));
    let names = match &names[..] {
        [] => String::new(),
        names => format!("  ({})", names.join(", ")),
    };
    let command = node.command.as_deref().unwrap_or_default();
    let text = format!("{lead}{}  {age}{names}  {command}", short(&node.uuid));
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
