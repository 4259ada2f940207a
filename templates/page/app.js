// The live view, and the search. Everything that comes from the server is set as text, never as HTML.
"use strict";
(() => {
  const PAGE = 100;
  const SHOWN = 400000; // characters of output kept on the page
  const RUNNING = new Set(["PENDING", "ASSIGNED", "EXECUTING"]);
  const byId = (id) => document.getElementById(id);
  document.body.classList.add("scripted");

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = plain(text);
    return made;
  }

  // Without controls and marks that turn the order of text around, which could make it look like something else.
  function plain(text) {
    return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, "\ufffd");
  }

  // ---- search

  const search = byId("search");
  const entries = [...document.querySelectorAll(".entry, .clients .card, .wide, #resources tbody tr")];
  const texts = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));
  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const searching = words.length > 0;
    let found = 0;
    for (const entry of entries) {
      const fits = words.every((word) => texts.get(entry).includes(word));
      entry.hidden = !fits;
      if (fits) found += 1;
    }
    for (const family of document.querySelectorAll(".family")) {
      let next = family.nextElementSibling;
      let any = false;
      while (next && !next.classList.contains("family")) {
        any = any || !next.hidden;
        next = next.nextElementSibling;
      }
      family.hidden = !any;
    }
    for (const section of document.querySelectorAll("section.doc")) {
      section.hidden = searching && !entries.some((entry) => section.contains(entry) && !entry.hidden);
    }
    byId("live").hidden = searching;
    byId("nothing-found").hidden = !searching || found > 0;
  }
  search.addEventListener("input", find);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      find();
    }
  });
  // A link to an entry opens it.
  function open() {
    let target = null;
    try {
      target = byId(decodeURIComponent(location.hash.slice(1)));
    } catch { /* not a name of ours */ }
    if (target instanceof HTMLDetailsElement) target.open = true;
  }
  addEventListener("hashchange", open);
  open();

  // ---- the server

  const KEY = "contree-token";
  let token = sessionStorage.getItem(KEY) || "";
  class Refused extends Error {}

  async function ask(path, signal) {
    const headers = token ? { authorization: "Bearer " + token } : {};
    const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit" });
    if (answer.status === 401) throw new Refused("the token is wrong");
    if (!answer.ok) {
      let why = answer.statusText;
      try { why = (await answer.json()).error || why; } catch { /* no JSON */ }
      throw new Error(why);
    }
    return answer;
  }
  const json = async (path) => (await ask(path)).json();

  // Server-sent events by hand, since EventSource cannot send a token.
  async function follow(path, signal, take) {
    const answer = await ask(path, signal);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      waiting += value;
      let end;
      while ((end = waiting.indexOf("\n\n")) >= 0) {
        const frame = waiting.slice(0, end);
        waiting = waiting.slice(end + 2);
        let name = "message";
        const data = [];
        for (const line of frame.split("\n")) {
          if (line.startsWith("event:")) name = line.slice(6).trim();
          else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
        if (data.length) take(name, JSON.parse(data.join("\n")));
      }
    }
  }

  function say(text, state) {
    byId("status").className = "status " + state;
    byId("status-text").textContent = plain(text);
  }

  // ---- what is shown

  let images = [];
  let operations = [];
  let wantedImages = PAGE;
  let wantedOperations = PAGE;
  let chosen = null; // {kind, uuid}
  let following = null; // of the output that is shown

  const short = (uuid) => String(uuid).slice(0, 8);
  const firstLine = (text) => {
    const lines = String(text || "").trim().split("\n");
    return lines.length > 1 ? lines[0] + " …" : lines[0];
  };
  function ago(time) {
    const seconds = (Date.now() - Date.parse(time)) / 1000;
    if (!Number.isFinite(seconds)) return "";
    if (seconds < 5) return "now";
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
      if (seconds >= size) return Math.floor(seconds / size) + " " + name;
    }
    return "now";
  }
  function lasted(seconds) {
    if (typeof seconds !== "number") return "";
    return seconds < 1 ? Math.round(seconds * 1000) + " ms" : seconds < 120 ? seconds.toFixed(1) + " s" : Math.round(seconds / 60) + " min";
  }
  function outcome(operation) {
    if (operation.status === "SUCCESS" && (operation.timed_out || (operation.exit_code !== undefined && operation.exit_code !== 0))) return "BAD";
    return /^[A-Z]+$/.test(operation.status) ? operation.status : "";
  }
  function words(operation) {
    if (RUNNING.has(operation.status)) return "running";
    if (operation.status !== "SUCCESS") return String(operation.status).toLowerCase();
    if (operation.timed_out) return "timed out";
    if (operation.exit_code) return "exit " + operation.exit_code;
    if (operation.signal) return "signal " + operation.signal;
    return lasted(operation.duration);
  }
  const what = (operation) => operation.command || (operation.kind === "image_import" ? "import " + (operation.registry || "") : operation.kind || "");

  function choose(kind, uuid) {
    chosen = { kind, uuid };
    draw();
    show();
    byId("detail").scrollIntoView({ block: "nearest" });
  }
  function button(className, kind, uuid) {
    const made = element("button", className);
    made.type = "button";
    made.dataset.uuid = uuid;
    if (chosen && chosen.kind === kind && chosen.uuid === uuid) {
      made.classList.add("chosen");
      made.setAttribute("aria-current", "true");
    }
    made.addEventListener("click", () => choose(kind, uuid));
    return made;
  }

  function drawOperations() {
    const list = document.createDocumentFragment();
    for (const operation of operations) {
      const line = button("operation", "operation", operation.uuid);
      line.append(element("span", "dot " + outcome(operation)));
      const command = element("span", "what", firstLine(what(operation)));
      command.title = plain(what(operation)).slice(0, 2000);
      line.append(command, element("span", "aside", words(operation)), element("span", "aside", ago(operation.created_at)));
      list.append(line);
    }
    if (!operations.length) list.append(element("p", "empty", "Nothing has run yet. A run of any client of this server appears here at once."));
    byId("operations").replaceChildren(list);
    const running = operations.filter((operation) => RUNNING.has(operation.status)).length;
    byId("operation-count").textContent = running ? running + " running" : String(operations.length);
  }

  function drawTree() {
    const known = new Map(images.map((image) => [image.uuid, image]));
    const children = new Map();
    const roots = [];
    const add = (parent, child) => {
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(child);
    };
    for (const image of images) {
      if (image.parent && image.parent !== image.uuid) {
        add(image.parent, { image });
        if (!known.has(image.parent)) {
          known.set(image.parent, null);
          roots.push({ uuid: image.parent });
        }
      } else {
        roots.push({ image });
      }
    }
    for (const operation of operations) {
      if (RUNNING.has(operation.status) && operation.image_uuid) {
        add(operation.image_uuid, { operation });
        if (!known.has(operation.image_uuid)) {
          known.set(operation.image_uuid, null);
          roots.push({ uuid: operation.image_uuid });
        }
      }
    }
    // Depth first without recursion: chains of images are as long as somebody's patience.
    const top = element("ul");
    const work = roots.map((entry) => [top, entry, 0]).reverse();
    const seen = new Set();
    while (work.length) {
      const [place, entry, depth] = work.pop();
      const item = element("li");
      place.append(item);
      if (entry.operation) {
        const line = button("node running", "operation", entry.operation.uuid);
        line.append(element("span", "dot " + outcome(entry.operation)), element("span", "what", firstLine(what(entry.operation))), element("span", "aside", "running"));
        item.append(line);
        continue;
      }
      const uuid = entry.image ? entry.image.uuid : entry.uuid;
      if (seen.has(uuid)) { item.remove(); continue; }
      seen.add(uuid);
      const line = button("node", "image", uuid);
      for (const tag of (entry.image && entry.image.tags) || []) {
        const chip = element("span", "tag", tag);
        chip.title = plain(tag);
        line.append(chip);
      }
      line.append(element("span", "id", short(uuid)));
      const made = entry.image ? entry.image.command || (entry.image.registry ? "import " + entry.image.registry : "") : "older image";
      line.append(element("span", "what", firstLine(made)));
      if (entry.image) line.append(element("span", "aside", ago(entry.image.created_at)));
      item.append(line);
      const below = children.get(uuid) || [];
      if (below.length) {
        // From some depth on a chain is drawn straight down.
        const straight = depth > 24 && below.length === 1;
        const inner = straight ? place : element("ul");
        if (!straight) item.append(inner);
        for (const child of [...below].reverse()) work.push([inner, child, depth + 1]);
      }
    }
    const tree = byId("tree");
    tree.classList.add("tree");
    tree.replaceChildren(images.length || roots.length ? top : element("p", "empty", "There are no images yet."));
    byId("image-count").textContent = String(images.length);
  }

  function draw() {
    const places = [byId("tree"), byId("operations")].map((pane) => [pane, pane.scrollTop]);
    const focused = document.activeElement && document.activeElement.dataset.uuid;
    const pane = focused && document.activeElement.closest(".scroll");
    drawTree();
    drawOperations();
    for (const [pane, top] of places) pane.scrollTop = top;
    if (focused && pane) {
      const again = [...pane.querySelectorAll("button")].find((one) => one.dataset.uuid === focused);
      if (again) again.focus({ preventScroll: true });
    }
  }

  // ---- the detail of one

  function fact(list, name, value, code) {
    if (value === undefined || value === null || value === "") return;
    list.append(element("dt", "", name));
    const body = element("dd");
    body.append(code === "pre" ? element("pre", "", value) : element(code || "span", "", value));
    list.append(body);
  }
  function link(list, name, kind, uuid) {
    if (!uuid) return;
    list.append(element("dt", "", name));
    const body = element("dd");
    const to = element("button", "quiet mono", uuid);
    to.type = "button";
    to.addEventListener("click", () => choose(kind, uuid));
    body.append(to);
    list.append(body);
  }
  function facts() {
    if (!chosen) return;
    const list = document.createDocumentFragment();
    if (chosen.kind === "image") {
      const image = images.find((one) => one.uuid === chosen.uuid) || { uuid: chosen.uuid };
      byId("detail-title").textContent = plain((image.tags && image.tags[0]) || "Image " + short(image.uuid));
      fact(list, "Image", image.uuid, "code");
      fact(list, "Tags", (image.tags || []).join(", "));
      link(list, "Made from", "image", image.parent);
      fact(list, "Made by", image.command, "pre");
      fact(list, "Imported from", image.registry, "code");
      link(list, "Operation", "operation", image.operation);
      fact(list, "Made", image.created_at && new Date(image.created_at).toLocaleString());
      const below = images.filter((one) => one.parent === image.uuid).length;
      fact(list, "Branches", below || undefined);
      fact(list, "Next", "run(image=\"" + image.uuid + "\", command=\"…\")", "code");
    } else {
      const operation = operations.find((one) => one.uuid === chosen.uuid) || { uuid: chosen.uuid, status: "" };
      byId("detail-title").textContent = plain(firstLine(what(operation)) || "Operation " + short(operation.uuid));
      fact(list, "Operation", operation.uuid, "code");
      fact(list, "Status", [operation.status, RUNNING.has(operation.status) ? "" : words(operation)].filter(Boolean).join(", "));
      fact(list, "Command", operation.command, "pre");
      fact(list, "Error", operation.error);
      link(list, "Ran on", "image", operation.image_uuid);
      if (operation.result_image_uuid !== operation.image_uuid) link(list, "Made", "image", operation.result_image_uuid);
      fact(list, "Started", operation.created_at && new Date(operation.created_at).toLocaleString());
    }
    byId("detail-facts").replaceChildren(list);
  }

  function show() {
    if (following) following.abort();
    following = null;
    const output = byId("output");
    const note = byId("output-note");
    output.replaceChildren();
    output.hidden = note.hidden = true;
    byId("detail").hidden = !chosen;
    if (!chosen) return;
    facts();
    if (chosen.kind === "operation") stream(chosen.uuid, output, note);
  }
  async function stream(uuid, output, note) {
    const mine = new AbortController();
    following = mine;
    let length = 0;
    try {
      await follow("/api/operations/" + encodeURIComponent(uuid) + "/output", mine.signal, (name, data) => {
        if (mine.signal.aborted) return;
        if (name === "output") {
          const down = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
          output.hidden = false;
          output.append(element("span", data.stream === "stderr" ? "err" : "", data.text));
          length += data.text.length;
          while (length > SHOWN && output.childNodes.length > 1) {
            length -= output.firstChild.textContent.length;
            output.firstChild.remove();
          }
          if (down) output.scrollTop = output.scrollHeight;
        } else if (name === "cut" || name === "failed") {
          note.hidden = false;
          note.textContent = plain(name === "cut" ? "There is more output than is shown here." : data.error);
        } else if (name === "end" && output.hidden && note.hidden) {
          note.hidden = false;
          note.textContent = "No output.";
        }
      });
    } catch (error) {
      if (mine.signal.aborted) return;
      note.hidden = false;
      note.textContent = plain(error.message);
    }
  }
  byId("detail-close").addEventListener("click", () => { chosen = null; show(); draw(); });

  // ---- keeping up

  async function pages(path, key, wanted) {
    // An image with several tags has a row for each, which may be on several pages.
    const all = new Map();
    let more = true;
    let offset = 0;
    while (more && all.size < wanted) {
      const page = await json(path + "?limit=" + PAGE + "&offset=" + offset);
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
  let loading = null;
  let again = false;
  async function load() {
    if (loading) { again = true; return loading; }
    loading = (async () => {
      do {
        again = false;
        const [[newImages, moreImages], [newOperations, moreOperations]] =
          await Promise.all([pages("/api/images", "images", wantedImages), pages("/api/operations", "operations", wantedOperations)]);
        images = newImages;
        operations = newOperations;
        byId("more-images").hidden = !moreImages;
        byId("more-operations").hidden = !moreOperations;
        draw();
        facts();
      } while (again);
    })();
    try { await loading; } finally { loading = null; }
  }
  byId("more-images").addEventListener("click", () => { wantedImages += PAGE; load().catch(trouble); });
  byId("more-operations").addEventListener("click", () => { wantedOperations += PAGE; load().catch(trouble); });
  const trouble = (error) => say(error.message, "is-off");

  const form = byId("token-form");
  const panels = byId("live-panels");
  function askForToken() {
    say("locked", "");
    byId("token-wrong").hidden = !token;
    token = "";
    sessionStorage.removeItem(KEY);
    form.hidden = false;
    panels.hidden = true;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value.trim();
    byId("token").value = "";
    sessionStorage.setItem(KEY, token);
    live();
  });

  let stopped = null;
  async function live() {
    if (stopped) stopped.abort();
    const mine = new AbortController();
    stopped = mine;
    for (let pause = 500; !mine.signal.aborted; pause = Math.min(pause * 2, 15000)) {
      try {
        const about = await json("/api/about");
        form.hidden = true;
        panels.hidden = false;
        await load();
        say(about.backend + " backend", "is-live");
        pause = 500;
        await follow("/api/changes", mine.signal, () => {
          load().then(() => say(about.backend + " backend", "is-live"), trouble);
        });
      } catch (error) {
        if (mine.signal.aborted) return;
        if (error instanceof Refused) { askForToken(); return; }
        say(error instanceof TypeError ? "the server does not answer; trying again" : error.message, "is-off");
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
  setInterval(() => { if (!document.hidden && images.length + operations.length) draw(); }, 20000);
  if (document.body.dataset.token === "yes" && !token) askForToken();
  else live();
})();
