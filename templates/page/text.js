// Texts and elements, for the other scripts. Text from the server is always inserted as text, never
// as HTML.
"use strict";
const byId = (id) => document.getElementById(id);
document.body.classList.add("scripted");

// Replaces control characters, invisible characters and marks that reverse the order of text: they
// could disguise a text. `src/tools/invisible.rs` has the same characters. Emoji keep their form.
const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f" +
  "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb" +
  "\\u{13430}-\\u{1343f}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]", "gu");
function plain(text) {
  return String(text).replace(HIDDEN, "\ufffd");
}

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = plain(text);
  return node;
}
function svgElement(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
function button(className, text, act) {
  const node = element("button", className, text);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}
function link(className, text, href) {
  const node = element("a", className, text);
  node.href = href;
  return node;
}

const shortId = (uuid) => String(uuid).slice(0, 8);
function firstLine(text) {
  const lines = String(text || "").trim().split("\n");
  return lines.length > 1 ? lines[0] + " …" : lines[0];
}
function formatAge(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (!Number.isFinite(seconds) || seconds < 5) return Number.isFinite(seconds) ? "now" : "";
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return Math.floor(seconds / size) + " " + name;
  }
  return Math.floor(seconds) + " s";
}
function formatDuration(seconds) {
  if (typeof seconds !== "number") return "";
  return seconds < 1 ? Math.round(seconds * 1000) + " ms" : seconds < 120 ? seconds.toFixed(1) + " s" : Math.round(seconds / 60) + " min";
}
function formatSize(bytes) {
  if (typeof bytes !== "number") return "";
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return (unit === "B" || value >= 100 ? Math.round(value) : value.toFixed(1)) + " " + unit;
    value /= 1024;
  }
  return value.toFixed(1) + " TiB";
}
const formatTime = (time) => (time ? new Date(time).toLocaleString() : "");

// Tells the user what happened, also through a screen reader.
let announcement = 0;
function announce(text, failed) {
  // The rest of the page is inert while the drawer is open.
  const node = byId(document.querySelector("dialog[open]") ? "drawer-said" : "said");
  node.textContent = plain(text);
  node.classList.toggle("failed", Boolean(failed));
  clearTimeout(announcement);
  announcement = setTimeout(() => { node.textContent = ""; }, failed ? 12000 : 4000);
}

// The clipboard is not available to pages that came over HTTP from another machine.
async function copy(text, what) {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
    } else {
      const field = element("textarea", "hidden");
      field.value = text;
      (document.querySelector("dialog[open]") || document.body).append(field);
      field.select();
      const copied = document.execCommand("copy");
      field.remove();
      if (!copied) throw new Error("the browser refused");
    }
    announce("Copied the " + what + ".");
  } catch (error) {
    announce("Nothing was copied: " + error.message, true);
  }
}
function copyButton(text, what) {
  const node = button("quiet copy", "Copy", async () => {
    const focused = document.activeElement;
    await copy(text, what);
    if (focused && focused.isConnected) focused.focus({ preventScroll: true });
  });
  node.setAttribute("aria-label", "Copy the " + what);
  return node;
}
