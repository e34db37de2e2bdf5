// Small helpers for elements.

/** Where the page stands: behind a proxy it need not be the root of its host. */
export const BASE = new URL("../", import.meta.url);

export const $ = (id) => document.getElementById(id);

/** Makes an element; properties that the element does not have become attributes. Text is always text, never markup. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Shows one of several views. */
export function show(id, among) {
  for (const other of among) $(other).hidden = other !== id;
}

/** A random id; works without the secure context that crypto.randomUUID needs. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a browser that forbids storage takes and gives: nothing, without failing. */
export const storage = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(key, value); return true; } catch { return false; }
  },
  remove(key) {
    try { localStorage.removeItem(key); } catch { /* nothing was stored */ }
  },
  keys(prefix) {
    try { return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).sort(); } catch { return []; }
  },
};

export function scoreText(score) {
  if (score === undefined) return "–";
  return score === null ? "n/a" : String(score);
}

const THEMES = ["auto", "light", "dark"];

/** The theme follows the system until the button says otherwise. */
export function setUpTheme(button) {
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    if (button) button.textContent = `Theme: ${theme}`;
  };
  let theme = storage.get("pq:theme") ?? "auto";
  apply(theme);
  button?.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    storage.set("pq:theme", theme);
    apply(theme);
  });
}
