// The API key, which lives as long as the browser's tab, and the dialog that asks for it.

import { h } from "./dom";

const place = "nibble-key";

export function key(): string {
  return sessionStorage.getItem(place) ?? "";
}

let open: HTMLDialogElement | null = null;

/** Asks for the key; the page starts again with it. */
export function askForKey(reason: string): void {
  if (open) {
    return;
  }
  const field = h("input", { id: "key", type: "password", autocomplete: "off", value: key(), "aria-describedby": "key-help" });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "key-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "key-title" }, "API key"),
      h("p", { id: "key-help" }, reason),
      h("label", { for: "key" }, "Key"),
      field,
      h(
        "div",
        { class: "actions" },
        h("button", { value: "use", class: "main" }, "Use this key"),
        h("button", { value: "cancel", formnovalidate: true }, "Cancel"),
      ),
    ),
  );
  dialog.addEventListener("close", () => {
    open = null;
    dialog.remove();
    if (dialog.returnValue === "use") {
      sessionStorage.setItem(place, field.value.trim());
      window.dispatchEvent(new HashChangeEvent("hashchange"));
    }
  });
  document.body.append(dialog);
  open = dialog;
  dialog.showModal();
}
