// The live view: connecting, and reading the lists again after every change.
"use strict";
const PAGE_SIZE = 100;
let imageLimit = PAGE_SIZE;
let operationLimit = PAGE_SIZE;
let connected = false;
let connection = null;
let refreshing = null;
let again = false;

function setStatus(text, state) {
  byId("status").className = "status " + state;
  byId("status-text").textContent = plain(text);
}
const showError = (error) => setStatus(error.message, "is-off");

async function loadPages(path, key, wanted) {
  // An image with several tags has one row for each. The rows may be on several pages.
  const all = new Map();
  let more = true;
  let offset = 0;
  while (more && all.size < wanted) {
    const page = await fetchJson(path + "?limit=" + PAGE_SIZE + "&offset=" + offset);
    for (const one of page[key]) {
      const before = all.get(one.uuid);
      if (!before) all.set(one.uuid, one);
      else if (one.tags) before.tags = [...new Set([...before.tags, ...one.tags])];
    }
    offset += page.rows;
    more = page.more;
  }
  return [[...all.values()], more];
}
async function refresh() {
  if (refreshing) { again = true; return refreshing; }
  refreshing = (async () => {
    do {
      again = false;
      const [[newImages, moreImages], [newOperations, moreOperations]] =
        await Promise.all([loadPages("/api/images", "images", imageLimit), loadPages("/api/operations", "operations", operationLimit)]);
      images = newImages;
      operations = newOperations;
      byId("more-images").hidden = !moreImages;
      byId("more-operations").hidden = !moreOperations;
      if (searchTerms.length) applySearch();
      else draw();
      drawDetail();
    } while (again);
  })();
  try { await refreshing; } finally { refreshing = null; }
}

function askForToken() {
  setStatus("locked", "");
  byId("token-wrong").hidden = !token;
  token = "";
  connected = false;
  sessionStorage.removeItem(TOKEN_KEY);
  const target = parseAddress(location.hash);
  if (drawer.open) {
    // The address stays, so that the drawer opens again with the token.
    drawer.removeEventListener("close", drawerClosed);
    drawer.close();
    drawer.addEventListener("close", drawerClosed);
  }
  selected = target;
  byId("token-form").hidden = false;
  byId("live-panels").hidden = true;
}

async function connect() {
  if (connection) connection.abort();
  const controller = new AbortController();
  connection = controller;
  for (let delay = 500; !controller.signal.aborted; delay = Math.min(delay * 2, 15000)) {
    try {
      const about = await fetchJson("/api/about");
      byId("token-form").hidden = true;
      byId("live-panels").hidden = false;
      await refresh();
      setStatus(about.backend + " backend", "is-live");
      if (!connected) {
        connected = true;
        selected = null;
        applyAddress();
        byId("disk").hidden = about.backend !== "local";
      }
      delay = 500;
      await readEvents("/api/changes", controller.signal, () => {
        refresh().then(() => setStatus(about.backend + " backend", "is-live"), showError);
      });
    } catch (error) {
      if (controller.signal.aborted) return;
      if (error instanceof Unauthorized) { askForToken(); return; }
      setStatus(error instanceof TypeError ? "the server does not answer; trying again" : error.message, "is-off");
    }
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}

// ---- disk usage

const DISK_PARTS = [
  ["shared_layers", "layers of several images"], ["unique_layers", "layers of one image"], ["unused_layers", "unused layers"],
  ["files", "uploaded files"], ["logs", "logs"], ["records", "records"],
];
async function showDisk() {
  const body = byId("disk-body");
  body.setAttribute("aria-busy", "true");
  try {
    const usage = await fetchJson("/api/disk");
    const total = element("p", "disk-total");
    total.append(element("strong", "", formatSize(usage.total)), " in ", element("code", "", usage.directory));
    const bar = svgElement("svg", { class: "disk-bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    const legend = element("ul", "disk-legend");
    let at = 0;
    DISK_PARTS.forEach(([key, name], number) => {
      const width = usage.total ? (usage[key] / usage.total) * 1000 : 0;
      bar.append(svgElement("rect", { class: "part-" + number, x: at, width, y: 0, height: 10 }));
      at += width;
      const item = element("li");
      item.append(element("span", "swatch part-" + number), formatSize(usage[key]) + " " + name);
      legend.append(item);
    });
    const largest = element("ul", "files");
    for (const image of usage.images) {
      const item = element("li");
      item.append(link("name mono", image.tags[0] || shortId(image.uuid), addressOf("image", image.uuid)),
        element("span", "aside", formatSize(image.unique) + " alone"), element("span", "aside", formatSize(image.total) + " in all"));
      largest.append(item);
    }
    const hint = element("p", "note");
    hint.append(element("code", "", "contree prune"), " removes what nobody needs.");
    body.replaceChildren(total, bar, legend, element("h4", "", "Largest images"), largest, hint);
  } catch (error) {
    body.replaceChildren(element("p", "error", error.message));
  } finally {
    body.removeAttribute("aria-busy");
  }
}

function startLive() {
  startDrawer();
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value.trim();
    byId("token").value = "";
    sessionStorage.setItem(TOKEN_KEY, token);
    connect();
  });
  byId("more-images").addEventListener("click", () => { imageLimit += PAGE_SIZE; refresh().catch(showError); });
  byId("more-operations").addEventListener("click", () => { operationLimit += PAGE_SIZE; refresh().catch(showError); });
  byId("disk").addEventListener("toggle", () => { if (byId("disk").open) showDisk(); });
  // Ages grow. Those of running operations are watched.
  let ticks = 0;
  setInterval(() => {
    ticks += 1;
    if (!document.hidden && (operations.some(isRunning) || ticks % 6 === 0)) draw();
  }, 5000);
  // A browser may keep a page that was left, and so its connections, of which it has few.
  addEventListener("pagehide", () => {
    if (connection) connection.abort();
    if (pending) pending.abort();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted || byId("live-panels").hidden) return;
    connected = false;
    connect();
  });
  if (document.body.dataset.token === "yes" && !token) askForToken();
  else connect();
}

if (byId("live")) startLive();
addEventListener("hashchange", openLinkedEntry);
openLinkedEntry();
