// Pages by the address's fragment: #/, #/new, #/jobs/ID, #/compare/ID/ID.

/** A page: builds itself, and ends what it does in the background when the signal says so. */
export type Page = (place: HTMLElement, signal: AbortSignal, ...names: string[]) => void | Promise<void>;

export function startRouter(pages: Record<string, Page>, missing: Page): void {
  let leaving = new AbortController();
  const show = (isFirst: boolean): void => {
    leaving.abort();
    leaving = new AbortController();
    const main = document.getElementById("main")!;
    main.replaceChildren();
    const [name = "", ...names] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    for (const link of document.querySelectorAll<HTMLAnchorElement>("nav a")) {
      const isHere = link.hash.replace(/^#\/?/, "") === name;
      link.toggleAttribute("aria-current", isHere);
      if (isHere) {
        link.setAttribute("aria-current", "page");
      }
    }
    void (pages[name] ?? missing)(main, leaving.signal, ...names);
    document.title = `${main.querySelector("h1")?.textContent ?? "Jobs"} – Nibble`;
    if (!isFirst) {
      main.focus();
      scrollTo(0, 0);
    }
  };
  window.addEventListener("hashchange", () => show(false));
  show(true);
}
