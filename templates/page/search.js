// The search: in the reference, and in the lists of images and operations.
"use strict";
const search = byId("search");
const entries = [...document.querySelectorAll(".entry, .clients .card, .wide, #resources tbody tr")];
const entryTexts = new Map(entries.map((entry) => [entry, entry.textContent.toLowerCase()]));
let searchTerms = [];

const matches = (text) => searchTerms.every((term) => text.toLowerCase().includes(term));

function applySearch() {
  searchTerms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const searching = searchTerms.length > 0;
  document.body.classList.toggle("searching", searching);
  let count = 0;
  for (const entry of entries) {
    const found = searchTerms.every((term) => entryTexts.get(entry).includes(term));
    entry.hidden = !found;
    if (found) count += 1;
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
  const live = byId("live") ? draw() : 0;
  byId("nothing-found").hidden = !searching || count + live > 0;
}
search.addEventListener("input", applySearch);
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && document.activeElement === search) {
    search.value = "";
    applySearch();
  }
});

// A link to an entry of the reference opens it. The reference has a page of its own.
function openLinkedEntry() {
  let target = null;
  try {
    target = byId(decodeURIComponent(location.hash.slice(1)));
  } catch { /* not a valid encoding */ }
  if (!target) return;
  const isElsewhere = document.body.dataset.page === "live" && target.closest(".reference");
  if (isElsewhere && !searchTerms.length) location.replace("/docs" + location.hash);
  else if (target instanceof HTMLDetailsElement) target.open = true;
}
