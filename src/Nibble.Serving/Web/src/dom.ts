// Elements made in one expression.

type Child = Node | string | null | undefined;
type Value = string | number | boolean | EventListener | undefined;

/** An element with its attributes (`on...` are listeners; false and undefined are left out) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Record<string, Value> = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A place that is made anew only when what it shows has changed, so that nothing moves under a finger or loses the focus for no reason. */
export class Slot {
  private shown: string | null = null;

  constructor(readonly element: HTMLElement) {}

  show(key: string, make: () => Child[]): void {
    if (key === this.shown) {
      return;
    }
    const hadFocus = this.element.contains(document.activeElement);
    this.shown = key;
    this.element.replaceChildren(...make().filter((child) => child !== null && child !== undefined));
    if (hadFocus) {
      this.element.querySelector<HTMLElement>("button")?.focus();
    }
  }
}

/** Says something to those who listen to the page instead of looking at it. */
export function announce(text: string): void {
  const place = document.getElementById("announcer");
  if (place && place.textContent !== text) {
    place.textContent = text;
  }
}

/** A line that says what went wrong. */
export function complaint(error: unknown): HTMLElement {
  return h("p", { class: "problem", role: "alert" }, error instanceof Error ? error.message : String(error));
}

/** A button that cannot be pressed twice while it works. */
export function button(label: string, action: () => Promise<void> | void, kind = ""): HTMLButtonElement {
  const element = h("button", { type: "button", class: kind }, label);
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await action();
    } finally {
      element.disabled = false;
    }
  });
  return element;
}
