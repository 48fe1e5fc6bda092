// Two jobs beside each other: curves, figures, and where their configurations differ.

import { get } from "../api";
import { Chart, Line } from "../chart";
import { flatten, table } from "../configuration";
import { complaint, h } from "../dom";
import { duration, number } from "../format";
import { metric, type History, type Job, type JobPage } from "../job";

export async function comparePage(place: HTMLElement, signal: AbortSignal, first = "", second = ""): Promise<void> {
  place.append(h("h1", {}, "Compare two jobs"));
  try {
    const jobs = (await get<JobPage>("/v1/jobs?limit=100", signal)).data;
    place.append(chooser(jobs, first, second));
    if (first && second) {
      place.append(...(await comparison(first, second, signal)));
    }
  } catch (error) {
    if (!signal.aborted) {
      place.append(complaint(error));
    }
  }
}

function chooser(jobs: Job[], first: string, second: string): HTMLElement {
  const select = (id: string, label: string, value: string): [HTMLElement, HTMLSelectElement] => {
    const list = h("select", { id }, h("option", { value: "" }, "choose"), ...jobs.map((job) => h("option", { value: job.job_id }, `${job.output_dir} (${job.status})`)));
    list.value = value;
    return [h("div", {}, h("label", { for: id }, label), list), list];
  };
  const [left, a] = select("first", "First", first);
  const [right, b] = select("second", "Second", second);
  const go = (): void => {
    if (a.value && b.value) {
      location.hash = `#/compare/${a.value}/${b.value}`;
    }
  };
  a.addEventListener("change", go);
  b.addEventListener("change", go);
  return h("div", { class: "bar choose" }, left, right);
}

interface Side {
  job: Job;
  history: History;
  settings: Map<string, string>;
}

async function side(id: string, signal: AbortSignal): Promise<Side> {
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const [job, history, config] = await Promise.all([get<Job>(path, signal), get<History>(`${path}/metrics`, signal), get<unknown>(`${path}/config`, signal)]);
  return { job, history, settings: new Map(flatten(config)) };
}

async function comparison(first: string, second: string, signal: AbortSignal): Promise<HTMLElement[]> {
  const sides = await Promise.all([side(first, signal), side(second, signal)]);
  const names = sides.map(({ job }) => job.output_dir);
  const chart = (title: string, lowest: boolean, values: (history: History) => [number, number | string][]): HTMLElement[] => {
    const lines = sides.map(({ job, history }) => {
      const line = new Line(job.output_dir);
      values(history).forEach(([step, value]) => line.add(step, value));
      return line;
    });
    return lines.some((line) => line.points.size > 0) ? [new Chart(title, lines, signal, lowest).element] : [];
  };
  const figures: [string, (one: Side) => string][] = [
    ["Status", ({ job }) => job.status],
    ["Steps", ({ job }) => `${job.step} of ${job.total_steps}`],
    ["Loss", ({ job }) => number(metric(job, "loss"))],
    ["Evaluation loss", ({ job }) => number(metric(job, "eval_loss"))],
    ["Tokens per second", ({ job }) => number(metric(job, "tokens_per_second"))],
    ["Took", ({ job }) => (job.started_at && job.ended_at ? duration((Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000) : "–")],
  ];
  const keys = [...new Set(sides.flatMap(({ settings }) => [...settings.keys()]))];
  const different = keys.map((key) => [key, ...sides.map(({ settings }) => settings.get(key) ?? "–")]).filter(([, a, b]) => a !== b);
  return [
    h(
      "section",
      { class: "charts", "aria-label": "Curves" },
      ...chart("Loss", true, ({ steps }) => steps.map((item) => [item.step, item.loss])),
      ...chart("Evaluation loss", true, ({ evaluations }) => evaluations.map((item) => [item.step, item.eval_loss])),
      ...chart("Learning rate", false, ({ steps }) => steps.map((item) => [item.step, item.learning_rate])),
      ...chart("Throughput (tokens per second)", false, ({ steps }) => steps.map((item) => [item.step, item.tokens_per_second])),
    ),
    h("section", {}, h("h2", {}, "Figures"), table(["", ...names], figures.map(([name, value]) => [name, ...sides.map(value)]))),
    h("section", {}, h("h2", {}, "Where the configurations differ"), table(["Key", ...names], different)),
  ];
}
