// What the drawer shows of an image beyond its facts: files, changes and history.
"use strict";
const CHANGE_MARKS = { added: "+", removed: "−", modified: "~", renamed: "→", type: "~", mode: "~", owner: "~" };
let viewRequest = null;

// Shows the part of an image that the address names.
function showView() {
  if (viewRequest) viewRequest.abort();
  viewRequest = null;
  const { kind, uuid, view, path } = selected;
  for (const name of ["", "files", "changes", "history"]) {
    const shown = kind === "image" && view === name;
    byId((name || "overview") + "-view").hidden = !shown;
    const tab = byId("tab-" + (name || "overview"));
    tab.href = addressOf("image", uuid, name, name === "files" ? "/" : "");
    if (shown) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  byId("drawer-facts").hidden = kind === "image" && view !== "";
  if (kind !== "image" || !view) return;
  const controller = new AbortController();
  viewRequest = controller;
  const show = { files: showFiles, changes: showChanges, history: showHistory }[view];
  const pane = byId(view + "-view");
  pane.setAttribute("aria-busy", "true");
  show(uuid, path, controller.signal, pane).catch((error) => {
    if (controller.signal.aborted) return;
    pane.append(element("p", "error", error.message));
    if (error instanceof Unauthorized) askForToken();
  }).finally(() => { if (!controller.signal.aborted) pane.removeAttribute("aria-busy"); });
}
const imagePath = (uuid, name, query) => "/api/images/" + uuid + "/" + name + "?" + new URLSearchParams(query);

// ---- files

function crumbs(uuid, view, path) {
  const line = element("p", "crumbs mono");
  const parts = path.split("/").filter(Boolean);
  line.append(link("", "/", addressOf("image", uuid, view, "/")));
  parts.forEach((part, at) => {
    const isLast = at === parts.length - 1;
    const to = "/" + parts.slice(0, at + 1).join("/") + (isLast && !path.endsWith("/") ? "" : "/");
    if (isLast) line.append(element("span", "", part + (path.endsWith("/") ? "/" : "")));
    else line.append(link("", part, addressOf("image", uuid, view, to)), " / ");
  });
  return line;
}
async function showFiles(uuid, path, signal, pane) {
  pane.replaceChildren(element("h3", "", "Files"), crumbs(uuid, "files", path || "/"));
  if (!path || path.endsWith("/")) return showDirectory(uuid, path || "/", signal, pane);
  let file;
  try {
    file = await fetchJson(imagePath(uuid, "text", { path }), signal);
  } catch (error) {
    // A link may lead to a directory.
    try {
      return await showDirectory(uuid, path + "/", signal, pane);
    } catch { throw error; }
  }
  if (signal.aborted) return;
  const facts = element("p", "note", formatSize(file.size) || "");
  if (file.text === null) {
    facts.append(" This file is not text. Copy it to this machine with ", element("code", "", "contree cp"), ".");
    pane.append(facts);
    return;
  }
  facts.append(" ", copyButton(file.text, "text"));
  if (file.cut) facts.append(" The text ends after 256 KiB.");
  const text = element("pre", "file-text", file.text);
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", "Text of " + plain(path));
  pane.append(facts, file.text ? text : element("p", "empty", "The file is empty."));
}
async function showDirectory(uuid, path, signal, pane) {
  const directory = await fetchJson(imagePath(uuid, "files", { path: path.replace(/(.)\/+$/, "$1") }), signal);
  if (signal.aborted) return;
  const list = element("ul", "files");
  for (const entry of directory.entries) {
    const item = element("li");
    const isDirectory = entry.kind === "directory";
    const name = entry.name + (isDirectory ? "/" : "");
    const target = addressOf("image", uuid, "files", path + name);
    item.append(entry.kind === "special" ? element("span", "name mono", name) : link("name mono " + entry.kind, name, target));
    if (entry.target) item.append(element("span", "target mono", "→ " + entry.target));
    item.append(element("span", "aside", isDirectory ? "" : entry.kind === "special" ? "special file" : formatSize(entry.size)), element("span", "aside mono", entry.mode));
    list.append(item);
  }
  pane.append(list.children.length ? list : element("p", "empty", "The directory is empty."));
  const rest = directory.count - directory.entries.length;
  if (rest > 0) pane.append(element("p", "note", rest + " more entries are not shown."));
}

// ---- changes

function patchText(patch) {
  const text = element("pre", "patch");
  for (const line of patch.split("\n")) {
    const kind = line.startsWith("@@") ? "hunk" : /^(diff |index |---|\+\+\+|new |deleted |rename |similarity |old |#)/.test(line) ? "head" : line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
    text.append(element("span", kind, line), "\n");
  }
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", "Changes as a patch");
  return text;
}
async function showChanges(uuid, path, signal, pane) {
  pane.replaceChildren(element("h3", "", path ? "Changes of " + path : "Changes since the parent"));
  if (path) {
    const back = element("p", "crumbs");
    back.append(link("", "All changes", addressOf("image", uuid, "changes")));
    pane.append(back);
    const diff = await fetchJson(imagePath(uuid, "diff", { path, patch: true }), signal);
    if (!signal.aborted) pane.append(diff.patch ? patchText(diff.patch) : element("p", "note", "There is no text to compare."));
    return;
  }
  const list = element("ul", "changes");
  let offset = 0;
  const load = async () => {
    const diff = await fetchJson(imagePath(uuid, "diff", { offset }), signal);
    if (signal.aborted) return;
    if (!offset) {
      const base = element("p", "note", diff.count + (diff.count === 1 ? " change" : " changes") + " since ");
      base.append(link("mono", shortId(diff.base), addressOf("image", diff.base)));
      pane.append(base, list);
    }
    for (const change of diff.changes) list.append(changeItem(uuid, change));
    offset = diff.next;
    if (offset) {
      const more = button("quiet", "Show more changes", async () => {
        more.remove();
        try { await load(); } catch (error) { pane.append(element("p", "error", error.message)); }
      });
      pane.append(more);
    }
  };
  await load();
}
function changeItem(uuid, change) {
  const item = element("li", "change " + (/^[a-z]+$/.test(change.change) ? change.change : ""));
  const mark = element("span", "mark", CHANGE_MARKS[change.change] || "~");
  mark.setAttribute("aria-hidden", "true");
  const isFile = change.kind === "file" || change.kind === "symlink";
  const name = isFile ? link("name mono", change.path, addressOf("image", uuid, "changes", change.path)) : element("span", "name mono", change.path);
  item.append(mark, name);
  if (change.from) item.append(element("span", "target mono", "from " + change.from));
  item.append(element("span", "aside", change.change));
  const sizes = [change.size_before, change.size_after].filter((size) => typeof size === "number").map(formatSize);
  if (isFile) item.append(element("span", "aside", [...new Set(sizes)].join(" → ")));
  return item;
}

// ---- history

// A row of the graph: a line from above, one to below, and perhaps a branch.
function rail(shape) {
  const picture = svgElement("svg", { class: "rail", viewBox: "0 0 44 44", preserveAspectRatio: "none", "aria-hidden": "true" });
  const line = (d) => picture.append(svgElement("path", { d, "vector-effect": "non-scaling-stroke" }));
  if (shape === "child" || shape === "first child") {
    if (shape === "child") line("M14 0V44");
    line("M14 44C14 30 32 36 32 22");
  } else {
    if (shape !== "top" && shape !== "only") line("M14 0V22");
    if (shape !== "bottom" && shape !== "only") line("M14 22V44");
  }
  return picture;
}
function historyRow(entry, shape, chosen) {
  const isChild = shape.endsWith("child");
  const row = element("li", "commit" + (chosen ? " chosen" : "") + (isChild ? " child" : ""));
  const lane = element("span", "lane");
  lane.append(rail(shape), element("span", "knot"));
  const facts = element("div", "commit-facts");
  const head = element("div", "commit-head");
  const name = link("id mono", shortId(entry.uuid), addressOf("image", entry.uuid));
  if (chosen) name.setAttribute("aria-current", "true");
  head.append(name);
  for (const tag of entry.tags || []) head.append(element("span", "tag", tag));
  const failed = typeof entry.exit_code === "number" && entry.exit_code !== 0;
  head.append(element("span", "aside", formatAge(entry.created_at)));
  if (failed) head.append(element("span", "aside error", "exit " + entry.exit_code));
  const changed = typeof entry.changed_files === "number" ? entry.changed_files + (entry.changed_files === 1 ? " file" : " files") + " changed, " + formatSize(entry.changed_bytes || 0) : "";
  const others = !isChild && !chosen && entry.children > 1 ? entry.children + " branches" : "";
  facts.append(head, element("div", "what", firstLine(entry.command || (entry.removed ? "removed image" : entry.kind || "unknown origin"))));
  const rest = [changed, others, entry.client].filter(Boolean).join(" · ");
  if (rest) facts.append(element("div", "aside wrap", rest));
  row.append(lane, facts);
  return row;
}
async function showHistory(uuid, path, signal, pane) {
  pane.replaceChildren(element("h3", "", "History"));
  const [log, below] = await Promise.all([fetchJson(imagePath(uuid, "log", { limit: 50 }), signal), fetchJson(imagePath(uuid, "log", { children: true, limit: 50 }), signal)]);
  if (signal.aborted) return;
  const list = element("ol", "graph");
  below.images.forEach((child, at) => list.append(historyRow(child, at ? "child" : "first child", false)));
  log.images.forEach((entry, at) => {
    const last = at === log.images.length - 1 && !log.next;
    const first = at === 0 && !below.images.length;
    list.append(historyRow(entry, first && last ? "only" : first ? "top" : last ? "bottom" : "middle", at === 0));
  });
  pane.append(list);
  if (log.next) {
    const oldest = log.images[log.images.length - 1];
    const more = element("p", "note");
    more.append(link("", "Older history", addressOf("image", oldest.uuid, "history")));
    pane.append(more);
  }
  if (log.note) pane.append(element("p", "note", log.note));
}
