// All jobs, the newest first, kept up to date while the page is looked at.

import { get } from "../api";
import { actions, badge, progress } from "../controls";
import { announce, button, complaint, h, Slot } from "../dom";
import { moment, number } from "../format";
import { metric, statuses, type Job, type JobPage } from "../job";

const pause = 1500;
const page = 50;
const columns = ["Compare", "Job", "Status", "Progress", "Loss", "Created", "Actions"];

interface Row {
  element: HTMLTableRowElement;
  slots: Map<string, Slot>;
}

export function jobsPage(place: HTMLElement, signal: AbortSignal): void {
  const chosen = new Set<string>();
  const rows = new Map<string, Row>();
  const before = new Map<string, string>();
  const filter = h("select", { id: "filter" }, h("option", { value: "" }, "all"), ...statuses.map((status) => h("option", { value: status }, status)));
  const body = h("tbody");
  const table = h(
    "table",
    { class: "jobs" },
    h("caption", { class: "unseen" }, "Jobs, the newest first"),
    h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)))),
    body,
  );
  const trouble = h("div");
  const none = h("p", { class: "empty" });
  const compare = button("Compare two", () => {
    location.hash = `#/compare/${[...chosen].join("/")}`;
  });
  let limit = page;
  const older = button("Older jobs", () => {
    limit = Math.min(100, limit + page);
    return refresh();
  });
  place.append(
    h("h1", {}, "Jobs"),
    h("div", { class: "bar" }, h("label", { for: "filter" }, "Status"), filter, compare, h("a", { class: "button main", href: "#/new" }, "New job")),
    trouble,
    table,
    none,
    older,
  );
  filter.addEventListener("change", () => void refresh());
  choose();

  function choose(): void {
    compare.disabled = chosen.size !== 2;
  }

  function tell(job: Job): void {
    const known = before.get(job.job_id);
    if (known !== undefined && known !== job.status) {
      announce(`${job.output_dir} is ${job.status}.`);
    }
    before.set(job.job_id, job.status);
  }

  function row(job: Job): Row {
    const slots = new Map(columns.map((name) => [name, new Slot(h("div"))]));
    const box = h("input", { type: "checkbox", "aria-label": `Compare ${job.output_dir}` });
    box.checked = chosen.has(job.job_id);
    box.addEventListener("change", () => {
      (box.checked ? chosen.add(job.job_id) : chosen.delete(job.job_id), choose());
    });
    slots.get("Compare")!.element.append(box);
    slots.get("Job")!.element.append(h("a", { href: `#/jobs/${job.job_id}` }, job.output_dir), h("span", { class: "small" }, `${job.model_name}, ${job.training_data_path}`));
    slots.get("Created")!.element.append(moment(job.created_at));
    return { element: h("tr", {}, ...columns.map((name) => h("td", { "data-label": name }, slots.get(name)!.element))), slots };
  }

  function fill({ slots }: Row, job: Job): void {
    const loss = number(metric(job, "loss"));
    slots.get("Status")!.show(`${job.status} ${job.error}`, () => [badge(job), job.error ? h("span", { class: "small" }, job.error) : null]);
    slots.get("Progress")!.show(`${job.step}/${job.total_steps}`, () => [progress(job)]);
    slots.get("Loss")!.show(loss, () => [loss]);
    slots.get("Actions")!.show(job.status, () => [actions(job, () => void refresh())]);
  }

  function show(jobs: Job[], more: boolean): void {
    for (const job of jobs) {
      tell(job);
      const known = rows.get(job.job_id) ?? row(job);
      fill(known, job);
      rows.set(job.job_id, known);
    }
    const order = jobs.map((job) => rows.get(job.job_id)!.element);
    if (order.length !== body.children.length || order.some((row, i) => body.children[i] !== row)) {
      body.replaceChildren(...order);
    }
    table.hidden = jobs.length === 0;
    none.textContent = jobs.length > 0 ? "" : filter.value ? `No job is ${filter.value}.` : "No jobs yet. Start with a new one.";
    older.hidden = !more || limit >= 100;
  }

  async function refresh(): Promise<void> {
    try {
      const found = await get<JobPage>(`/v1/jobs?limit=${limit}${filter.value ? `&status=${filter.value}` : ""}`, signal);
      trouble.replaceChildren();
      show(found.data, found.has_more);
    } catch (error) {
      if (!signal.aborted) {
        trouble.replaceChildren(complaint(error));
      }
    }
  }

  async function watch(): Promise<void> {
    while (!signal.aborted) {
      if (!document.hidden) {
        await refresh();
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  void watch();
}
