// A job's configuration, key by key.

import { get } from "./api";
import { complaint, h } from "./dom";

/** Leaves of a tree by their dotted keys. */
export function flatten(tree: unknown, prefix = ""): [string, string][] {
  return typeof tree === "object" && tree !== null && !Array.isArray(tree)
    ? Object.entries(tree).flatMap(([name, value]) => flatten(value, prefix ? `${prefix}.${name}` : name))
    : [[prefix, Array.isArray(tree) ? tree.join(", ") : String(tree ?? "–")]];
}

/** A section that reads it when it is opened. */
export function settings(path: string, signal: AbortSignal): HTMLElement {
  const place = h("div");
  const details = h("details", {}, h("summary", {}, "Configuration"), place);
  details.addEventListener(
    "toggle",
    async () => {
      try {
        place.replaceChildren(table(["Key", "Value"], flatten(await get<unknown>(`${path}/config`, signal))));
      } catch (error) {
        place.replaceChildren(complaint(error));
      }
    },
    { once: true },
  );
  return h("section", {}, details);
}

/** A table of words, the first column of which names the rows. */
export function table(head: string[], rows: string[][]): HTMLElement {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": head.join(", ") },
    h(
      "table",
      { class: "plain" },
      h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...rows.map(([name = "", ...values]) => h("tr", {}, h("th", { scope: "row" }, name), ...values.map((value) => h("td", {}, value))))),
    ),
  );
}
